"""What SQS is asked for, which is paid for by the request."""

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from brokers import load_profile
from brokers.errors import BrokerUnreachableError
from brokers.sqs.predefined import PredefinedQueues
from brokers.sqs.publishing import SAFE_BYTES
from brokers.wire import CompleteMessage, TaskMessage


def test_a_queue_is_looked_for_when_kombu_connects_and_not_again_for_each_message() -> None:
    asked: list[str] = []

    def find_url(queue: str) -> str:
        asked.append(queue)
        return f"https://sqs/{queue}"

    queues = PredefinedQueues("ours-", ["orders"], find_url)
    for _ in range(2):
        assert dict(queues.items()) == {"ours-orders": {"url": "https://sqs/orders"}}
    assert asked == ["orders", "orders"]

    for name in ("ours-orders", "orders"):
        assert name in queues
        assert queues[name] == queues.get(name) == {"url": "https://sqs/orders"}
    assert "others" not in queues
    assert asked == ["orders", "orders"]


class Refusing:
    """Boto's client where a policy allows to send, and nothing else."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get_queue_url(self, **_: Any) -> dict[str, str]:
        return {"QueueUrl": "https://sqs/theirs"}

    def get_queue_attributes(self, **_: Any) -> None:
        raise self.error


def asked(error: Exception, message: TaskMessage) -> str:
    others = load_profile("sqs", environ={}, env_file=Path(os.devnull)).for_others
    object.__setattr__(others.queues, "client", Refusing(error))  # type: ignore[attr-defined]
    return others.refuses("theirs", message)


def test_who_may_only_send_needs_no_right_to_ask_how_large_a_message_may_be() -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetQueueAttributes")
    large = CompleteMessage(uuid4(), "their.task", f'[["{"x" * SAFE_BYTES}"], {{}}]', "", "", {}, None, 0)
    assert asked(denied, TaskMessage(uuid4(), "their.task")) == ""
    assert f"takes {SAFE_BYTES}" in asked(denied, large)


def test_while_sqs_is_away_nothing_is_too_large() -> None:
    with pytest.raises(BrokerUnreachableError):
        asked(TimeoutError(), TaskMessage(uuid4(), "their.task"))
