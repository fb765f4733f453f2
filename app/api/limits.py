"""Applies the limits of `app/api/throttling.py` outside of the request's transaction."""

import logging
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from app.api.problems import problem_response
from app.api.throttling import count, report

logger = logging.getLogger(__name__)

#: Addresses at which passwords can be tried.
LOGIN_ADDRESSES = frozenset({"/auth/login/", "/auth/token/", "/auth/jwt/", "/admin/login/"})


class ThrottleMiddleware:
    """Counts logins before their transaction, and other requests after it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and request.path_info in LOGIN_ADDRESSES and (refusal := _refuse_login(request)):
            return refusal
        response = self.get_response(request)
        try:
            for key, limit in getattr(request, "to_report", ()):
                report(key, limit)
        except DatabaseError as error:
            # The request has been committed. A failed count must not lose its answer.
            logger.warning("A request was not counted: %s", error)
        return response


def _refuse_login(request: HttpRequest) -> HttpResponse | None:
    limit = settings.THROTTLES["logins"]
    if not limit:
        return None
    hits, seconds_left = count(f"logins {BaseThrottle().get_ident(Request(request))}")
    if hits <= limit:
        return None
    wait = max(seconds_left, 1)
    response = problem_response(429, f"Too many logins from your address. Try again in {wait} seconds.")
    response["Retry-After"] = str(wait)
    return response
