"""Messages that nobody asked for, put into a service's queue by the broker's own means."""

from typing import Any

import amqp
import redis
from kombu import Connection

from tests.harness.service import Service


def push_garbage(service: Service, data: bytes) -> bytes:
    """Put bytes into the queue that are no message; return them as the broker hands them out."""
    return _GARBAGE[service.profile.name](service, data)


def _push_to_redis(service: Service, data: bytes) -> bytes:
    redis.Redis(port=service.around.broker.port).lpush(service.queue, data)
    return data


def _push_to_rabbitmq(service: Service, data: bytes) -> bytes:
    with amqp.Connection(f"127.0.0.1:{service.around.broker.port}") as connection:
        connection.channel().basic_publish(amqp.Message(data), routing_key=service.queue)
    return data


def _push_to_sqs(service: Service, data: bytes) -> bytes:
    """SQS takes text only, without control characters."""
    profile: Any = service.profile
    text = "".join(each for each in data.decode(errors="replace") if each.isprintable())
    profile.queues.client.send_message(QueueUrl=profile.queues.url(service.queue), MessageBody=text)
    return text.encode()


_GARBAGE = {"redis": _push_to_redis, "rabbitmq": _push_to_rabbitmq, "sqs": _push_to_sqs}


def push_message(
    service: Service,
    body: bytes,
    headers: dict[str, Any] | None,
    *,
    content_type: str = "application/json",
    content_encoding: str = "utf-8",
) -> bytes:
    """Put a message into the queue as some other program that uses kombu would; return its body."""
    settings = service.profile.celery_settings([service.queue])
    with Connection(settings["broker_url"], transport_options=settings["broker_transport_options"]) as connection:
        connection.Producer().publish(
            body,
            exchange="",
            routing_key=service.queue,
            headers=headers,
            content_type=content_type,
            content_encoding=content_encoding,
        )
    return body
