"""The service's addresses, and those at which a test may enqueue any task."""

from django.urls import path

from app.urls import urlpatterns as service_urls
from tests.harness.errands.views import enqueue, send_by_name

urlpatterns = [*service_urls, path("enqueue/", enqueue), path("send-by-name/", send_by_name)]
