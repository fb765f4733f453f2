"""Limits of requests by user or IP address. All web processes share them through the database.

Django's database cache cannot do this. A count inside a request's transaction is undone when the request is refused,
although refused requests must be counted. A count before the request would hold a row's lock, and on SQLite the write
lock, as long as the request takes. And two requests at once overwrite each other's count. Here a request *looks* with
one indexed SELECT, and is *counted* by one statement after its transaction has ended:

    login           counted before it is let in, by IP address: exact; failed ones by account too (logins.py)
    POST /orders/   looked up, counted afterwards: requests answered at the same moment may exceed the limit
    401, 403        the same: REST framework refuses them before it asks for the limits, so `describe_exception` asks
    anything else   the same, but every process reports ten requests at once: a write for one request in ten
"""

import time
from collections import Counter
from threading import Lock
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from app.api.client_address import client_group

if TYPE_CHECKING:  # it is rest_framework.views that imports this file
    from rest_framework.views import APIView

#: The period of a limit. It begins with the first request.
PERIOD_SECONDS = 60

#: For limits from LARGE_LIMIT on, a process reports REPORT requests at a time.
LARGE_LIMIT, REPORT = 100, 10

#: As SQL, because each request asks: to build it anew costs Django several times what the answer takes.
_LOOK = "SELECT hits, ends_at FROM app_throttle WHERE key = %s AND ends_at > %s"

_COUNT = """
    INSERT INTO app_throttle AS kept (key, hits, ends_at) VALUES (%s, %s, %s) ON CONFLICT (key) DO UPDATE SET
        hits = CASE WHEN kept.ends_at > %s THEN kept.hits + excluded.hits ELSE excluded.hits END,
        ends_at = CASE WHEN kept.ends_at > %s THEN kept.ends_at ELSE excluded.ends_at END
    RETURNING hits, ends_at
"""

#: Requests that this process has not reported yet, by key. At most a few for each client of the last minutes.
_unreported: Counter[str] = Counter()
_unreported_lock = Lock()
MAX_UNREPORTED = 10_000


def count(key: str, hits: int = 1, *, period_seconds: int = PERIOD_SECONDS) -> tuple[int, int]:
    """Count requests; return how many there were in this period, and the seconds until it ends."""
    now = int(time.time())
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [key, hits, now + period_seconds, now, now])
        total, ends_at = cursor.fetchone()
    return total, ends_at - now


def look(key: str) -> tuple[int, int]:
    """Return the same as `count`, without counting."""
    now = int(time.time())
    with connection.cursor() as cursor:
        cursor.execute(_LOOK, [key, now])
        kept = cursor.fetchone()
    return (kept[0], kept[1] - now) if kept else (0, 0)


def report(key: str, limit: int) -> None:
    """Count a request. If the limit is large, it is counted together with other requests of this process."""
    hits = 1
    if limit >= LARGE_LIMIT:
        with _unreported_lock:
            if len(_unreported) >= MAX_UNREPORTED:
                _unreported.clear()
            _unreported[key] += 1
            if _unreported[key] < REPORT:
                return
            hits = _unreported.pop(key)
    count(key, hits)


class SharedThrottle(BaseThrottle):
    """Limits requests by user, or by IP address if anonymous. `view.throttle_limits` names a limit for some actions."""

    def __init__(self) -> None:
        self.seconds_left = 0

    def allow_request(self, request: Request, view: "APIView") -> bool:
        user = request.user
        default = "user" if user.is_authenticated else "anonymous"
        name = getattr(view, "throttle_limits", {}).get(getattr(view, "action", None), default)
        limit: int = settings.THROTTLES[name]
        if not limit:
            return True
        key = f"{name} {user.pk if user.is_authenticated else client_group(request._request)}"
        hits, self.seconds_left = look(key)
        if hits >= limit:
            return False
        _to_report(request).append((key, limit))
        return True

    def wait(self) -> float:
        return max(self.seconds_left, 1)


def refuse_too_many(request: Request, view: "APIView") -> None:
    """Count a request that was refused before its limit was asked for. Raises Throttled if there were too many."""
    if hasattr(request._request, "to_report"):
        return
    throttle = SharedThrottle()
    if not throttle.allow_request(request, view):
        raise Throttled(throttle.wait())


def _to_report(request: Request) -> list[tuple[str, int]]:
    plain: Any = request._request
    if not hasattr(plain, "to_report"):
        plain.to_report = []
    to_report: list[tuple[str, int]] = plain.to_report
    return to_report
