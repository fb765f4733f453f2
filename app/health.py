"""Answers for load balancers and orchestrators: is this process alive, and can it serve?

A middleware, and the first: whoever asks comes by IP address and without TLS, so neither ALLOWED_HOSTS nor a redirect
to https may stand before it. Workers, relay and beat serve no HTTP: `settings/probe.py` is for them.
"""

from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from brokers import Finding
from console.latest import Latest

Answer = Callable[[HttpRequest], HttpResponse]

#: How long an answer waits for the database, and then for the broker, whose last known state is good enough.
DATABASE_SECONDS, BROKER_SECONDS = 1.5, 0.3


def live(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers; does no input or output of its own."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> HttpResponse:
    """503 when the database does not answer: without it no order can be accepted. Answers within 2 s in any case.

    A broker that is away, or not what the promises need, makes it `degraded` with the reason and the cure, and still
    200: the outbox keeps what it cannot carry.
    """
    problem = database.get(within_seconds=DATABASE_SECONDS)
    if problem != "":
        answer = {"status": "unavailable", "database": problem or "does not answer"}
        return JsonResponse(answer, status=HTTPStatus.SERVICE_UNAVAILABLE)
    findings = broker.get(within_seconds=BROKER_SECONDS)
    if findings is None:
        findings = [
            Finding("fail", "reachable", f"No answer yet from {settings.BROKER_PROFILE.address}.", "Ask again.")
        ]
    problems = [
        {"name": each.name, "problem": each.message, "cure": each.cure} for each in findings if each.level == "fail"
    ]
    return JsonResponse({"status": "degraded", "broker": problems} if problems else {"status": "ok"})


def ask_database() -> str:
    """What is wrong with the database; "" if nothing is."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return ""
    except Error:
        return "does not answer"
    finally:
        connection.close()


def ask_broker() -> list[Finding]:
    return settings.BROKER_PROFILE.findings(settings.SERVICE.queues)


database = Latest(ask_database, every_seconds=1, stale_seconds=3)
broker = Latest(ask_broker, every_seconds=5, stale_seconds=10)

ANSWERS = {"/health/live": live, "/health/ready": ready}


class HealthMiddleware:
    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return ANSWERS.get(request.path_info, self.get_response)(request)
