"""What kombu 5.7 and Celery 5.7 do wrong, and that we mend it.

A test whose name begins with `test_kombu_still` fails when they have mended it themselves: then delete the class that
it names, and the test.
"""

import ssl
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
import pytest
import redis
from kombu import Connection, Queue
from kombu.asynchronous import Hub, get_event_loop, set_event_loop
from kombu.asynchronous.aws.sqs.connection import AsyncSQSConnection
from kombu.transport import SQS, pyamqp
from kombu.transport import redis as kombu_redis

from app.first_run.processes import find_free_port
from brokers.rabbitmq import mended as rabbitmq
from brokers.redis import mended as mended_redis
from brokers.sqs import mended as sqs
from tests.harness.servers import Servers
from tests.harness.tls import Authority, TlsProxy


def expected_host_after_a_failed_attempt(transport: type) -> str | None:
    """The host whose certificate the options, which all hosts share, ask for."""
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
    connection = Connection("127.0.0.1", port=find_free_port(), transport=transport, ssl=options, connect_timeout=1)
    with pytest.raises(OSError):
        connection.transport.establish_connection()
    host: str | None = options["server_hostname"]
    return host


def test_kombu_still_expects_the_certificate_of_the_first_host_of_all_hosts() -> None:
    """See EachHostVerifiedTransport."""
    assert expected_host_after_a_failed_attempt(pyamqp.SSLTransport) == "127.0.0.1"


def test_each_host_has_to_show_its_own_certificate() -> None:
    assert expected_host_after_a_failed_attempt(rabbitmq.EachHostVerifiedTransport) is None


def test_the_second_host_is_connected_to_when_the_first_is_down(servers: Servers, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    broker = servers.broker("rabbitmq")
    with TlsProxy(broker.port, authority.issue("127.0.0.2"), address="127.0.0.2") as proxy:
        down, up = f"127.0.0.1:{find_free_port()}", f"127.0.0.2:{proxy.port}"
        url = f"amqps://guest:guest@{down}//;amqps://guest:guest@{up}//"
        options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": str(authority.ca_file), "server_hostname": None}
        with Connection(url, ssl=options) as connection:
            connection.ensure_connection(max_retries=2, interval_start=0)
            assert connection.connected


def waits_at_most(servers: Servers, transport: type) -> float | None:
    """Seconds that anything but connecting may wait for RabbitMQ; None means for ever."""
    broker = servers.broker("rabbitmq")
    with Connection("127.0.0.1", port=broker.port, transport=transport, connect_timeout=2) as connection:
        seconds: float | None = connection.connection.transport.sock.gettimeout()
    return seconds


def test_kombu_still_waits_for_a_silent_rabbitmq_for_ever(servers: Servers) -> None:
    """See BoundedTransport."""
    assert waits_at_most(servers, pyamqp.Transport) is None


def test_no_wait_for_rabbitmq_is_without_end(servers: Servers) -> None:
    assert waits_at_most(servers, rabbitmq.BoundedTransport) == 2


def takes_messages_after_a_lost_acknowledgement(servers: Servers, transport: type) -> bool:
    broker = servers.broker("redis")
    queue = Queue(f"test-{uuid4().hex[:12]}")
    connection = Connection("127.0.0.1", port=broker.port, transport=transport)
    channel: Any = connection.default_channel
    channel.basic_qos(0, 1, False)
    connection.Producer().publish("anything", routing_key=queue.name, declare=[queue])
    message = queue(channel).get()
    assert message is not None
    assert not channel.qos.can_consume()

    broker.stop()
    with pytest.raises(connection.connection_errors):
        message.ack()
    can_consume: bool = channel.qos.can_consume()
    connection.collect()
    return can_consume


def test_kombu_still_keeps_the_place_of_a_message_whose_acknowledgement_was_lost(servers: Servers) -> None:
    """See SlotFreeingQoS."""
    assert not takes_messages_after_a_lost_acknowledgement(servers, kombu_redis.Transport)


def test_a_lost_acknowledgement_takes_no_place(servers: Servers) -> None:
    assert takes_messages_after_a_lost_acknowledgement(servers, mended_redis.RedisTransport)


def clients(servers: Servers, transport: type) -> tuple[Any, Any, Any]:
    """The clients of two commands, and of one after the connections were lost."""
    broker = servers.broker("redis")
    with Connection("127.0.0.1", port=broker.port, transport=transport) as connection:
        channel: Any = connection.default_channel
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            pass
        channel._disconnect_pools()
        with channel.conn_or_acquire() as third:
            assert third.ping()
        return first, second, third


def test_kombu_still_makes_a_client_for_each_command(servers: Servers) -> None:
    """See ClientKeepingChannel."""
    first, second, _ = clients(servers, kombu_redis.Transport)

    assert first is not second


def test_a_client_is_kept_until_its_connections_are_lost(servers: Servers) -> None:
    first, second, third = clients(servers, mended_redis.RedisTransport)

    assert first is second
    assert third is not first


def receive_beside_a_key_that_is_no_list(servers: Servers, transport: type) -> None:
    """Be a worker of three queues, one of which is a text at first."""
    broker = servers.broker("redis")
    client = redis.Redis(port=broker.port)
    received: list[str] = []
    text, *others = [f"test-{uuid4().hex[:12]}" for _ in range(3)]
    client.set(text, "this is no list")
    with Connection("127.0.0.1", port=broker.port, transport=transport) as connection:
        queues = [Queue(name, routing_key=name) for name in (text, *others)]
        with connection.Consumer(queues, callbacks=[lambda body, _: received.append(body)], no_ack=True):
            for name in others:
                connection.Producer().publish(f"in {name}", routing_key=name)
                connection.drain_events(timeout=5)
            client.delete(text)
            connection.Producer().publish("mended", routing_key=text)
            connection.drain_events(timeout=5)
    assert received == [*(f"in {name}" for name in others), "mended"]


def test_kombu_still_lets_a_key_that_is_no_list_end_the_worker(servers: Servers) -> None:
    """See ListsOnlyChannel."""
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        receive_beside_a_key_that_is_no_list(servers, kombu_redis.Transport)


def test_a_key_that_is_no_list_stops_no_other_queue_and_is_used_when_it_is_one(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    receive_beside_a_key_that_is_no_list(servers, mended_redis.RedisTransport)
    assert sum("that is no list" in each for each in caplog.messages) == 1


def answer_to_a_refused_request(kind: type[AsyncSQSConnection]) -> Any:
    """What becomes of SQS's answer that we may not receive messages."""
    client = boto3.client("sqs", region_name="eu-central-1")
    refused = SimpleNamespace(status=403, reason="", read=lambda: b"AccessDenied")
    connection = kind(client, region="eu-central-1", http_client=SimpleNamespace())
    return connection._on_list_ready(connection, [], "ReceiveMessage", refused)  # type: ignore[attr-defined]


def test_kombu_still_raises_what_ends_the_worker_when_sqs_refuses() -> None:
    """See PatientSQSConnection."""
    with pytest.raises(Exception, match="HTTP 403"):
        answer_to_a_refused_request(AsyncSQSConnection)


def test_a_refusal_of_sqs_means_no_messages_now(caplog: pytest.LogCaptureFixture) -> None:
    assert answer_to_a_refused_request(sqs.PatientSQSConnection) == []
    assert "AccessDenied" in caplog.text


def test_kombu_still_takes_its_own_word_for_a_failure_for_an_answer() -> None:
    """See PatientSQSChannel."""
    with pytest.raises(AttributeError):
        SQS.Channel._on_messages_ready(None, "url", "queue", [])  # type: ignore[attr-defined]


def test_a_queue_that_sqs_refuses_lets_no_other_wait() -> None:
    waits: list[tuple[str, float]] = []
    channel: Any = object.__new__(sqs.PatientSQSChannel)
    channel._failures, channel.connection = Counter(), SimpleNamespace(polling_interval=0)
    channel.hub = SimpleNamespace(
        call_later=lambda seconds, _, queue: waits.append((queue, seconds)),
        call_soon=lambda _, queue: waits.append((queue, 0)),
    )
    for _ in range(3):
        channel._on_messages_ready("url", "refused", [])
        channel._on_messages_ready("url", "another", {})
    channel._loop1("refused")
    channel._loop1("another")
    assert waits == [("refused", 4.0), ("another", 0)]


def test_kombu_still_forgets_the_event_loop_when_it_is_reset() -> None:
    """See SQSTransport."""
    before = get_event_loop()
    hub = Hub()
    try:
        set_event_loop(hub)
        hub.reset()
        assert get_event_loop() is None
    finally:
        hub.close()
        set_event_loop(before)
