"""The page at `/`, for everyone: what this service is, and where to go from here."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_safe

#: What the page at `/` leads to, where the service has it: name of the address, title, and what is there.
DOORS = [
    ("console:console", "Console", "what happens right now, and what needs a decision"),
    ("admin:index", "Back office", "products, orders and the outbox"),
    ("product-list", "Products", "what is on sale"),
    ("order-list", "Orders", "the HTTP API in a browser, for customers"),
    ("docs", "API reference", "every route, with examples"),
    ("schema", "OpenAPI schema", "for generators and tools"),
]


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What this is, and where to go from here."""
    doors = [(address, title, purpose) for name, title, purpose in DOORS if (address := find_address(name))]
    return render(request, "app/home.html", {"doors": doors})


def find_address(name: str) -> str | None:
    """The address of a page, or None where the service has no such page."""
    try:
        return reverse(name)
    except NoReverseMatch:
        return None
