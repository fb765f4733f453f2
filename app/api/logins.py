"""Limits of logins: by the client that tries, and by the account that is tried.

The first is exact. The second counts wrong passwords from everywhere; an account with too many of them is not locked,
because then anybody could keep its owner out: each client may go on trying once a minute.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from app.api.client_address import client_group
from app.api.problems import problem_response
from app.api.throttling import count, look

#: Addresses at which passwords can be tried, and what a login is answered with there.
LOGIN_ADDRESSES = {"/auth/login/": 302, "/admin/login/": 302, "/auth/token/": 200, "/auth/jwt/": 200}

#: How long a wrong password counts against its account.
ACCOUNT_SECONDS = 15 * 60


def is_login(request: HttpRequest) -> bool:
    return request.method == "POST" and request.path_info in LOGIN_ADDRESSES


def refuse_login(request: HttpRequest) -> HttpResponse | None:
    """Count a login that has not been tried yet. Return the answer if it must not be tried."""
    waits = list(_seconds_to_wait(request))
    if not waits:
        return None
    wait = max(1, *waits)
    response = problem_response(429, f"Too many logins. Try again in {wait} seconds.")
    response["Retry-After"] = str(wait)
    return response


def note_outcome(request: HttpRequest, response: HttpResponse) -> None:
    """Count a wrong password against its account."""
    account = account_of(request)
    if settings.THROTTLES["failed logins"] and account and response.status_code != LOGIN_ADDRESSES[request.path_info]:
        count(account, period_seconds=ACCOUNT_SECONDS)


def account_of(request: HttpRequest) -> str | None:
    """Return the key of the account that is tried, as far as a name is given. The table has no names."""
    name: object = None
    if request.content_type == "application/json":
        with suppress(ValueError, RecursionError):
            body = json.loads(request.body)
            name = body.get("username") if isinstance(body, dict) else None
    else:
        name = request.POST.get("username")
    return (
        f"account {sha256(name.encode(errors='replace')).hexdigest()[:32]}" if isinstance(name, str) and name else None
    )


def _seconds_to_wait(request: HttpRequest) -> Iterator[int]:
    client = client_group(request)
    if limit := settings.THROTTLES["logins"]:
        hits, seconds_left = count(f"logins {client}")
        if hits > limit:
            yield seconds_left
    limit, account = settings.THROTTLES["failed logins"], account_of(request)
    if limit and account and look(account)[0] >= limit:
        hits, seconds_left = count(f"{account} {client}")
        if hits > 1:
            yield seconds_left
