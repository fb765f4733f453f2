"""Addresses end with a slash. A GET without it is redirected."""

from django.http import HttpRequest
from django.middleware.common import CommonMiddleware


class SlashMiddleware(CommonMiddleware):
    """Django's CommonMiddleware, but a request that writes is answered with 404, not redirected.

    Clients turn a redirected POST into a GET: it would list orders instead of placing one.
    """

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return request.method in ("GET", "HEAD") and super().should_redirect_with_slash(request)
