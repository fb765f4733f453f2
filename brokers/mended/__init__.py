"""Classes of kombu 5.7 that need mending. Each is to be deleted when its test fails, for then kombu has mended it.

They are named here and imported by kombu when it needs them: a process loads the client of its own broker only.
"""

from typing import Final

from kombu.transport import TRANSPORT_ALIASES

#: Transports by the scheme of their URLs, as kombu writes where a class is.
MENDED: Final = {
    "amqp": "brokers.mended.rabbitmq:BoundedTransport",
    "amqps": "brokers.mended.rabbitmq:EachHostVerifiedTransport",
    "redis": "brokers.mended.redis:RedisTransport",
    "rediss": "brokers.mended.redis:RedisTransport",
    "sentinel": "brokers.mended.redis:SentinelTransport",
    "sqs": "brokers.mended.sqs:SQSTransport",
}


def install() -> None:
    """Make kombu use the classes above. Call before the first connection."""
    TRANSPORT_ALIASES.update(MENDED)
