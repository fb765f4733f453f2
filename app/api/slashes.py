"""Addresses end with a slash; who forgets it while reading is led there."""

from django.http import HttpRequest
from django.middleware.common import CommonMiddleware


class SlashMiddleware(CommonMiddleware):
    """Django's CommonMiddleware, but a request that writes is answered with 404 rather than led elsewhere.

    Clients turn a redirected POST into a GET, which would list orders where one was to be placed.
    """

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return request.method in ("GET", "HEAD") and super().should_redirect_with_slash(request)
