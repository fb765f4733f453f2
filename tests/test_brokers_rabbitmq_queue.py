"""A queue at RabbitMQ that is not what it should be."""

from uuid import uuid4

import pytest
from kombu import Connection, Queue

from brokers.rabbitmq.queue import DeadLetteredQueue
from tests.harness.servers import Servers


def test_a_worker_consumes_it_as_it_is_beside_others(servers: Servers, caplog: pytest.LogCaptureFixture) -> None:
    broker = servers.broker("rabbitmq")
    names = [f"test-{uuid4().hex[:12]}" for _ in range(2)]
    received: list[str] = []
    with Connection(broker.env["RABBITMQ_URL"]) as connection:
        Queue(names[0], channel=connection.default_channel).declare()  # a classic one
        queues = [DeadLetteredQueue.of(name, delivery_limit=20) for name in names]
        with connection.Consumer(queues, callbacks=[lambda body, _: received.append(body)], no_ack=True):
            for name in names:
                connection.Producer().publish(name, routing_key=name)
                connection.drain_events(timeout=5)
    assert received == names
    assert sum("A queue is not what it should be" in each for each in caplog.messages) == 1
