"""Answers for load balancers and orchestrators: is this process alive, and can it serve?

A middleware, and the first: whoever asks comes by IP address and without TLS, so neither ALLOWED_HOSTS nor a redirect
to https may stand before it.
"""

from collections.abc import Callable

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

Answer = Callable[[HttpRequest], HttpResponse]


def live(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers; does no input or output of its own."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> HttpResponse:
    """200 when the database answers, else 503: without it no order can be accepted."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return JsonResponse({"status": "unavailable", "database": "does not answer"}, status=503)
    return JsonResponse({"status": "ok"})


ANSWERS = {"/health/live": live, "/health/ready": ready}


class HealthMiddleware:
    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return ANSWERS.get(request.path_info, self.get_response)(request)
