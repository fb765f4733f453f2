"""OpenTelemetry: one trace from the HTTP request through the outbox to the mail server. Off without an endpoint.

A broker message carries only an id, so the context travels in the headers of the row, as W3C's `traceparent`.
"""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery.exceptions import Ignore, Retry
from celery.signals import worker_process_shutdown, worker_shutdown
from django.core.mail import EmailMessage
from kombu.utils.json import loads

from brokers.wire import TaskMessage
from outbox.instruments import Instrument
from outbox.ledger import Claim
from outbox.models import Message

try:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.propagate import extract, inject
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanKind
except ImportError:
    sys.exit("OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: uv sync --extra otel")

logger = logging.getLogger(__name__)
tracer = trace.get_tracer("anybroker")


def start(endpoint: str, *, service_name: str) -> "Tracing":
    """Start tracing HTTP requests and e-mails. Return the instrument that traces the outbox between them."""
    provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)
    # After the health checks, so that these are not traced.
    DjangoInstrumentor().instrument(middleware_position=1)
    trace_emails()
    for signal in (worker_process_shutdown, worker_shutdown):
        # A process of the pool ends without Python's exit handlers.
        signal.connect(lambda **_: provider.force_flush(2000), weak=False)
    return Tracing()


def trace_emails() -> None:
    """Make a span for each e-mail's dialogue with the mail server."""
    send = EmailMessage.send

    def traced_send(self: EmailMessage, *args: Any, **kwargs: Any) -> int:
        with tracer.start_as_current_span("smtp send", kind=SpanKind.CLIENT):
            return send(self, *args, **kwargs)

    EmailMessage.send = traced_send  # type: ignore[method-assign]


class Tracing(Instrument):
    """Spans of the outbox: enqueue, publish, run."""

    def headers(self, task: str) -> dict[str, Any]:
        with tracer.start_as_current_span(f"enqueue {task}", kind=SpanKind.PRODUCER):
            carrier: dict[str, Any] = {}
            inject(carrier)
        return carrier

    @contextmanager
    def publishing(self, queue: str, messages: Sequence[TaskMessage]) -> Iterator[None]:
        """Make a span for each message, in the trace of its order. A batch has no span of its own."""
        began = time.time_ns()
        yield
        try:
            self._trace_batch(queue, messages, began, time.time_ns())
        except Exception:  # the batch has been published; an error here must not stop the relay
            logger.warning("A batch of %s could not be traced", queue, exc_info=True)

    def _trace_batch(self, queue: str, messages: Sequence[TaskMessage], began: int, ended: int) -> None:
        rows = Message.objects.filter(pk__in=[message.id for message in messages]).values_list("pk", "task", "headers")
        for id, task, headers in rows:
            attributes = {"messaging.destination.name": queue, "messaging.message.id": str(id)}
            context = extract(loads(headers))
            span = tracer.start_span(
                f"publish {task}", context, SpanKind.PRODUCER, attributes=attributes, start_time=began
            )
            span.end(ended)

    @contextmanager
    def running(self, task: str, claim: Claim, headers: dict[str, Any]) -> Iterator[None]:
        attributes: dict[str, str | int] = {"messaging.message.id": str(claim.id), "anybroker.attempt": claim.attempt}
        with tracer.start_as_current_span(
            f"run {task}", extract(headers), SpanKind.CONSUMER, attributes=attributes, record_exception=False
        ) as span:
            try:
                yield
            except (Ignore, Retry):  # Celery uses these exceptions as signals; they are no errors
                raise
            except Exception as error:
                span.record_exception(error)
                raise
