"""What an administrator may do wrong with each broker, and what our promises have to say about it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import amqp
import redis

from brokers.sqs.profile import SQSProfile
from tests.harness.service import Service


@contextmanager
def _redis_evicts(service: Service) -> Iterator[tuple[str, str]]:
    client = redis.Redis(port=service.around.broker.port)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        yield "maxmemory-policy", "Set maxmemory-policy noeviction"
    finally:
        client.config_set("maxmemory-policy", "noeviction")


@contextmanager
def _rabbitmq_has_a_classic_queue(service: Service) -> Iterator[tuple[str, str]]:
    with amqp.Connection(f"127.0.0.1:{service.around.broker.port}") as connection:
        channel = connection.channel()
        channel.queue_delete(service.queue)
        channel.queue_declare(service.queue, durable=True, auto_delete=False)
        yield "is not what it should be", "rabbitmqctl delete_queue"


@contextmanager
def _sqs_redrives_nothing(service: Service) -> Iterator[tuple[str, str]]:
    profile = service.profile
    assert isinstance(profile, SQSProfile)
    url = profile.queue_url(service.queue)
    policy = profile.queues.read(url)["RedrivePolicy"]
    profile.queues.client.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    try:
        yield "No RedrivePolicy", "dead-letter queue"
    finally:
        restored = json.dumps(json.loads(policy))
        profile.queues.client.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": restored})


_WAYS: dict[str, Callable] = {
    "redis": _redis_evicts,
    "rabbitmq": _rabbitmq_has_a_classic_queue,
    "sqs": _sqs_redrives_nothing,
}


@contextmanager
def misconfigured(service: Service) -> Iterator[tuple[str, str]]:
    """While the block runs, the service's broker is not what it should be; words of the problem and of its cure."""
    with _WAYS[service.env["BROKER"]](service) as words:
        yield words
