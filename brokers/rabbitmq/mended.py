"""kombu's transports for RabbitMQ."""

from typing import Any, Final

from kombu.transport import pyamqp


class BoundedTransport(pyamqp.Transport):
    """Limits every wait for RabbitMQ to the timeout for connecting.

    py-amqp does this for TLS, but removes the timeout of a plain socket once it is connected (amqp/transport.py,
    `_init_socket`). When RabbitMQ does not read, as during an alarm, closing the connection would then take for ever.
    """

    def establish_connection(self) -> Any:
        connection = super().establish_connection()
        connection.transport.sock.settimeout(connection.connect_timeout)
        return connection


class EachHostVerifiedTransport(pyamqp.SSLTransport):
    """Verifies the certificate of every host against the name of that host.

    kombu writes the name of the first host into options that all hosts share (pyamqp.py, `establish_connection`). The
    certificates of all other hosts are then refused, because they are not for the first host's name.
    """

    def establish_connection(self) -> Any:
        connection: Any = self.client
        shared: Final = connection.ssl
        if isinstance(shared, dict):
            connection.ssl = dict(shared)
        try:
            return super().establish_connection()
        finally:
            connection.ssl = shared
