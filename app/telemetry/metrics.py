"""Metrics for Prometheus: the same names on every broker.

The process that does the work measures counts and latencies, and serves them: web at `/metrics`, relay, workers and
beat on METRICS_PORT. The state of the outbox is read from the ledger when Prometheus scrapes web.
"""

import hmac
import ipaddress
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from app.telemetry.metrics_state import StateCollector
from brokers.wire import TaskMessage
from outbox.instruments import Instrument

#: Seconds, for a statement or a round trip.
STATEMENT_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 60)

#: Seconds that a task runs.
TASK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

ENQUEUED = Counter("anybroker_enqueued", "Messages written into the outbox (rolled back ones too).", ["task"])
PUBLISHED = Counter("anybroker_published", "Messages that the broker has taken.", ["queue"])
PUBLISH_ERRORS = Counter("anybroker_publish_errors", "Batches that the broker did not take as a whole.", ["queue"])
ATTEMPTS = Counter("anybroker_attempts", "Settled attempts by outcome: complete, retry or fail.", ["task", "outcome"])
PUBLISH = Histogram("anybroker_publish_seconds", "Publishing a batch.", ["queue"], buckets=STATEMENT_BUCKETS)
ANSWERS = Counter("anybroker_answers", "Messages taken off the broker by what became of them.", ["answer"])
TASK = Histogram(
    "anybroker_task_seconds", "Attempts of a task, by how they ended.", ["task", "outcome"], buckets=TASK_BUCKETS
)
CLAIM = Histogram("anybroker_claim_seconds", "Claiming a batch of messages.", buckets=STATEMENT_BUCKETS)
SETTLE = Histogram("anybroker_settle_seconds", "Settling a batch of messages.", buckets=STATEMENT_BUCKETS)


class Measurements(Instrument):
    """Counts and times the work of this process."""

    def started(self, kind: str) -> None:
        if settings.TELEMETRY.metrics_port:
            serve(settings.TELEMETRY.metrics_port)

    def headers(self, task: str) -> dict[str, Any]:
        ENQUEUED.labels(task).inc()
        return {}

    @contextmanager
    def publishing(self, queue: str, messages: Sequence[TaskMessage]) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        except BaseException:
            PUBLISH_ERRORS.labels(queue).inc()
            raise
        PUBLISH.labels(queue).observe(time.perf_counter() - began)
        PUBLISHED.labels(queue).inc(len(messages))

    def timed(self, step: str, seconds: float) -> None:
        (CLAIM if step == "claim" else SETTLE).observe(seconds)

    def answered(self, answer: str, number: int) -> None:
        ANSWERS.labels(answer).inc(number)

    def settled(self, task: str, outcome: str, seconds: float) -> None:
        ATTEMPTS.labels(task, outcome).inc()
        TASK.labels(task, outcome).observe(seconds)


def expose(*, with_state: bool) -> bytes:
    """Return the text for Prometheus: the metrics of all processes of this program, and the state if wanted."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    if with_state:
        registry.register(state)
    return generate_latest(registry)


state = StateCollector()


def may_read(address: str, authorization: str) -> bool:
    """Whether a client at `address` with this Authorization header may read the metrics."""
    telemetry = settings.TELEMETRY
    token = telemetry.metrics_token
    if token and hmac.compare_digest(authorization.encode(), f"Bearer {token.get_secret_value()}".encode()):
        return True
    return is_within(address, telemetry.metrics_networks)


def is_within(address: str, networks: Iterable[str]) -> bool:
    try:
        place = ipaddress.ip_address(address)
    except ValueError:  # a UNIX socket has none
        return False
    return any(place in ipaddress.ip_network(network) for network in networks)


class MetricsMiddleware:
    """Answers `/metrics`. Stands before the middleware that requires a host name, https or a login."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info != "/metrics":
            answer: HttpResponse = self.get_response(request)
            return answer
        if not may_read(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_AUTHORIZATION", "")):
            return HttpResponse("Set METRICS_TOKEN or METRICS_NETWORKS.\n", "text/plain", HTTPStatus.FORBIDDEN)
        return HttpResponse(expose(with_state=True), CONTENT_TYPE_LATEST)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        allowed = may_read(self.client_address[0], self.headers.get("Authorization", ""))
        body = expose(with_state=False) if allowed else b""
        self.send_response(HTTPStatus.OK if allowed else HTTPStatus.FORBIDDEN)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log scrapes."""


def serve(port: int) -> None:
    """Serve this program's metrics from a thread. Exit if the port is in use."""
    try:
        server = ThreadingHTTPServer(("", port), _Handler)
    except OSError as error:
        sys.exit(f"METRICS_PORT={port} cannot be listened on ({error.strerror}). Give each process of a host its own.")
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
