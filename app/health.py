"""Answers for load balancers and orchestrators: is this process alive, and can it serve?

This is the first middleware: load balancers ask by IP address and without TLS, so ALLOWED_HOSTS and the redirect to
https must come after it. Workers, relay and beat serve no HTTP; `settings/probe.py` checks them.
"""

from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from brokers import Finding
from console.latest import Latest

Answer = Callable[[HttpRequest], HttpResponse]

#: How long an answer waits for the database, and then for the broker. The broker's last known state is good enough.
DATABASE_SECONDS, BROKER_SECONDS = 1.5, 0.3


def live(request: HttpRequest) -> HttpResponse:
    """Answer 200 as long as the process answers. It asks neither database nor broker."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> HttpResponse:
    """Answer 503 if the database does not answer, because then no order can be accepted. Answers within 2 s.

    If the broker is away, or its settings break a promise, the answer is `degraded` with the reason and the cure. It is
    still 200: the outbox keeps the messages meanwhile.
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
    """Return what is wrong with the database; "" if nothing is."""
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
