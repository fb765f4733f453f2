"""Applies the limits of `app/api/throttling.py` and `app/api/logins.py` outside of the request's transaction."""

import logging
from collections.abc import Callable

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse

from app.api.logins import is_login, note_outcome, refuse_login
from app.api.throttling import report

logger = logging.getLogger(__name__)


class ThrottleMiddleware:
    """Counts logins before their transaction, and other requests after it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        tries_password = is_login(request)
        if tries_password and (refusal := refuse_login(request)):
            return refusal
        response = self.get_response(request)
        try:
            if tries_password:
                note_outcome(request, response)
            for key, limit in getattr(request, "to_report", ()):
                report(key, limit)
        except DatabaseError as error:
            # The request has been committed. A failed count must not lose its answer.
            logger.warning("A request was not counted: %s", error)
        return response
