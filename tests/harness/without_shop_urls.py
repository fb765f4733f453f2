"""The addresses of a project without a shop."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("console/", include("console.urls"))]
