"""Who may read the metrics, and where traces and errors are reported. Each of them is off unless it is set."""

import atexit
import ipaddress
import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from settings.base import EnvSettings
from settings.masking import SecretUrl
from settings.variables import CommaList

#: Read by prometheus_client when it is imported: from then on each process keeps its values in files there.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

PREFIX = "anybroker-metrics-"


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


def share_metrics() -> None:
    """Let the processes of one program (gunicorn's, a worker's pool) share their metrics in a directory.

    Make the directory, unless there is one. Call this before prometheus_client is imported, and before a fork.
    """
    if VARIABLE in os.environ:
        return
    # Files in memory: each observation writes to them.
    memory = Path("/dev/shm")  # noqa: S108
    home = memory if memory.is_dir() else Path(tempfile.gettempdir())
    _remove_those_of_the_dead(home)
    directory = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=home)
    os.environ[VARIABLE] = directory
    atexit.register(_remove, directory, owner=os.getpid())


def _remove_those_of_the_dead(home: Path) -> None:
    """Remove the directories of programs that were killed."""
    for directory in home.glob(f"{PREFIX}*-*"):
        try:
            os.kill(int(directory.name.removeprefix(PREFIX).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(directory, ignore_errors=True)
        except (PermissionError, ValueError):  # somebody else's
            continue


def _remove(directory: str, *, owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked off
        shutil.rmtree(directory, ignore_errors=True)
