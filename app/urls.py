"""Every address of the service."""

from django.contrib import admin
from django.urls import include, path

from app import health

urlpatterns = [
    path("", include("orders.urls")),
    path("admin/", admin.site.urls),
    path("auth/", include("rest_framework.urls")),
    path("health/live", health.live),
    path("health/ready", health.ready),
]
