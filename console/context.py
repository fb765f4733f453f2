"""What every page shows of the service."""

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse


def name_service(request: HttpRequest) -> dict[str, str]:
    """The service's name and environment, and its start page: the address called `home`, or else the console."""
    try:
        start_page = reverse("home")
    except NoReverseMatch:
        start_page = reverse("console:console")
    name = getattr(settings, "SITE_NAME", "Outbox")
    return {"site_name": name, "environment": settings.SERVICE.environment, "start_page": start_page}
