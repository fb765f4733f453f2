"""The service's addresses, and one at which a test may enqueue any task."""

from django.urls import path

from app.urls import urlpatterns as service_urls
from tests.harness.errands.views import enqueue

urlpatterns = [*service_urls, path("enqueue/", enqueue)]
