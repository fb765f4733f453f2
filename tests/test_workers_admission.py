"""What a worker believes of a message: of one for a durable task the id, and nothing else."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery.exceptions import InvalidTaskError
from kombu.message import Message as BrokerMessage

from brokers.wire import TaskMessage
from tests.outbox_rows import TASK
from workers.admission import admit

STRAIGHT = "tests.straight"

TASKS = {TASK: SimpleNamespace(durable=True), STRAIGHT: SimpleNamespace(durable=False)}


def message(body: bytes = b"[[], {}, {}]", **headers: Any) -> BrokerMessage:
    given = {**TaskMessage(uuid4(), TASK).headers, **headers}
    return BrokerMessage(headers=given, body=body, content_type="application/json", content_encoding="utf-8")  # type: ignore[arg-type]


def straight(body: bytes = b"[[], {}, {}]", **headers: Any) -> BrokerMessage:
    return message(body, task=STRAIGHT, **headers)


def test_of_a_message_for_a_durable_task_its_id_is_taken() -> None:
    id = uuid4()
    assert admit(message(id=str(id)), TASKS) == id


@pytest.mark.parametrize(
    "forged", [{"timelimit": ["a", "b"]}, {"eta": 7}, {"expires": "x"}, {"retries": None}, {"argsrepr": [1]}], ids=str
)
def test_whatever_else_it_says_is_not_even_read(forged: dict[str, Any]) -> None:
    assert admit(message(b"\xff no JSON", id=str(UUID(int=7)), **forged), TASKS) == UUID(int=7)


def test_a_task_that_the_worker_does_not_know_may_be_the_ledgers() -> None:
    assert admit(message(id=str(UUID(int=7)), task="another.release.task"), TASKS) == UUID(int=7)


@pytest.mark.parametrize("id", ["garbage", "", None, 17, ["list"], {"id": 1}, "\x00", "7" * 10_000], ids=repr)
def test_an_id_that_stands_for_nothing_is_not_admitted(id: Any) -> None:
    with pytest.raises(InvalidTaskError, match=r"^has (an id that is no message's|no id of a task)"):
        admit(message(id=id), TASKS)


def test_the_reason_names_a_task_that_is_not_known_either() -> None:
    with pytest.raises(InvalidTaskError, match=r"'garbage', and is for a task .* does not know: 'nobodys'"):
        admit(message(id="garbage", task="nobodys"), TASKS)


@pytest.mark.parametrize("task", [None, 17, ["list"], b"bytes"], ids=repr)
def test_a_message_without_a_task_is_not_admitted(task: Any) -> None:
    with pytest.raises(InvalidTaskError, match="is no Celery task"):
        admit(message(task=task), TASKS)


def test_one_for_a_task_that_is_not_durable_is_celerys() -> None:
    assert admit(straight(), TASKS) is None
    assert admit(straight(id="any id", timelimit=[1, None]), TASKS) is None


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'"text"', b"[[], {}]", b"[[], [], {}]", b"[{}, {}, {}]", b"7", b"null"]
)
def test_but_not_with_a_body_of_another_shape(body: bytes) -> None:
    with pytest.raises(InvalidTaskError, match="has a body that is not"):
        admit(straight(body), TASKS)


@pytest.mark.parametrize("limits", [7, "no", [1], [1, 2, 3], ["1", None], {"a": 1}], ids=repr)
def test_nor_with_time_limits_that_are_none(limits: Any) -> None:
    with pytest.raises(InvalidTaskError, match="has time limits that are none"):
        admit(straight(timelimit=limits), TASKS)


def test_nor_with_a_body_that_cannot_be_decoded() -> None:
    with pytest.raises(InvalidTaskError, match="cannot be decoded"):
        admit(straight(b"\xff"), TASKS)
