"""Which format an answer has, and who may keep it."""

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation


class Negotiation(DefaultContentNegotiation):
    """REST framework's, but `?format=xml` is answered with 406, as `Accept: application/xml` is."""

    def filter_renderers(self, renderers: Iterable[Any], format: str) -> Any:
        try:
            return super().filter_renderers(renderers, format)
        except Http404:
            raise NotAcceptable(available_renderers=list(renderers)) from None


class PrivateAnswersMiddleware:
    """Tells caches to keep no answer to somebody who is logged in, or logs in, unless the view has said who may."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        knows_user = "Authorization" in request.headers or settings.SESSION_COOKIE_NAME in request.COOKIES
        if (knows_user or request.path_info.startswith("/auth/")) and not response.has_header("Cache-Control"):
            response["Cache-Control"] = "no-store"
        return response
