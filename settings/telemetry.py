"""Who may read the metrics, and where traces and errors are reported. Each of them is off unless it is set."""

import ipaddress
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from settings.base import EnvSettings
from settings.masking import SecretUrl
from settings.variables import CommaList


class TelemetrySettings(EnvSettings):
    """Metrics, traces and errors, for those who run the service."""

    metrics_token: SecretStr | None = None
    """Token that lets a client read `/metrics`, sent as `Authorization: Bearer`. Prometheus calls it `credentials`."""

    metrics_networks: CommaList = ()
    """Networks whose addresses may read `/metrics` without a token, as in 10.0.0.0/8. The address of the connection
    counts, so a proxy in one of these networks lets everybody in."""

    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port on which a relay, worker or beat serves its own metrics, to METRICS_NETWORKS and to clients with the token.
    0: it serves none. Processes that share a host need a port each."""

    otel_exporter_otlp_endpoint: SecretUrl | None = None
    """Where OpenTelemetry traces are sent by OTLP over HTTP, as in http://collector:4318. Needs the extra `otel`."""

    otel_service_name: str = "anybroker"
    """Name of the service in traces."""

    sentry_dsn: SecretUrl | None = None
    """Where errors are reported: a Sentry DSN. Needs the extra `sentry`."""

    @property
    def has_metrics(self) -> bool:
        """Whether anybody may read the metrics. If nobody may, nothing is measured."""
        return bool(self.metrics_token or self.metrics_networks)

    @field_validator("metrics_networks")
    @classmethod
    def _check_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError(f"has {network!r}, which is no network: write it as 10.0.0.0/8.") from None
        return networks
