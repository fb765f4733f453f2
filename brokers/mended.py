"""Classes of kombu 5.7 that need mending. Each is to be deleted when its test fails, for then kombu has mended it."""

from typing import Any, Final

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.pyamqp import SSLTransport


class EachHostVerifiedTransport(SSLTransport):
    """Expects of every host the certificate of that host.

    kombu writes the name of the first host it tries into options that all hosts share (pyamqp.py,
    `establish_connection`), so that each further one is refused for not having the first one's name.
    """

    def establish_connection(self) -> Any:
        shared: Final = self.client.ssl
        if isinstance(shared, dict):
            self.client.ssl = dict(shared)
        try:
            return super().establish_connection()
        finally:
            self.client.ssl = shared


def install() -> None:
    """Make kombu use the classes above. Call before the first connection."""
    TRANSPORT_ALIASES["amqps"] = f"{__name__}:{EachHostVerifiedTransport.__name__}"
