"""Installs the instruments: logs always; metrics, traces and error reports if their settings are set."""

import sys

from outbox import instruments
from settings.telemetry import TelemetrySettings


def install(telemetry: TelemetrySettings, *, environment: str) -> None:
    """Install the instruments. Call this once in each process, before it forks and before it serves requests."""
    from app.telemetry.log_context import LogContext

    instruments.install(LogContext())
    if telemetry.has_metrics:
        from app.telemetry.metrics import Measurements

        instruments.install(Measurements())
    if telemetry.otel_exporter_otlp_endpoint:
        from app.telemetry import tracing

        endpoint = telemetry.otel_exporter_otlp_endpoint.get_secret_value()
        instruments.install(tracing.start(endpoint, service_name=telemetry.otel_service_name))
    if telemetry.sentry_dsn:
        report_errors(telemetry.sentry_dsn.get_secret_value(), environment)


def report_errors(dsn: str, environment: str) -> None:
    try:
        import sentry_sdk
    except ImportError:
        sys.exit("SENTRY_DSN is set, but Sentry's client is not installed: uv sync --extra sentry")
    # The integrations for Django and Celery are found automatically. Personal data are not sent.
    sentry_sdk.init(dsn, environment=environment, send_default_pii=False)
