"""What every page shows of the service."""

from django.conf import settings
from django.http import HttpRequest


def name_service(request: HttpRequest) -> dict[str, str]:
    return {"site_name": settings.SITE_NAME, "environment": settings.SERVICE.environment}
