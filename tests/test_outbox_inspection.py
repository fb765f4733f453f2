"""`celery inspect`, `status` and `app.control`: what the ledger and the heartbeats answer, and what is refused."""

# celery-types describes the documented part of a control only.
# mypy: disable-error-code="arg-type, call-arg, index, no-untyped-call, union-attr"

from typing import Any

import pytest
from celery import shared_task
from celery.bin.celery import celery as celery_command
from click.testing import CliRunner

from app.celery import app
from outbox import ledger
from outbox.calls.options import message_id
from outbox.inspection import ANSWERS, CURES, ControlRefusedError
from outbox.models import Heartbeat
from tests.outbox_rows import WORKER, let_pass, start, take

pytestmark = pytest.mark.django_db

OTHER = "another@host"


@shared_task
def errand(a: int, b: int = 0) -> None:
    """Is only ever looked at."""


@pytest.fixture(autouse=True)
def workers() -> None:
    """Two that live, and one that was last seen a day ago."""
    details = {
        "queues": ["default"], "tasks": [errand.name], "direct_tasks": ["celery.ping", "tests.direct"],
        "pid": 17, "concurrency": 2, "pool": "prefork", "broker": "redis", "connected": True,
        "total": {errand.name: 5},
    }  # fmt: skip
    for name in (WORKER, OTHER, "dead@host"):
        Heartbeat.objects.create(name=f"worker:{name}", kind="worker", details={**details, "node": name})
    Heartbeat.objects.create(name="relay:host:1", kind="relay")
    Heartbeat.objects.filter(name="worker:dead@host").update(seen_at="2020-01-01T00:00Z")


def asked(command: str, **arguments: Any) -> dict[str, Any]:
    return getattr(app.control.inspect(), command)(**arguments)  # type: ignore[no-any-return]


def test_each_worker_that_lives_answers() -> None:
    assert asked("ping") == {WORKER: {"ok": "pong"}, OTHER: {"ok": "pong"}}
    assert app.control.ping() == [{OTHER: {"ok": "pong"}}, {WORKER: {"ok": "pong"}}]
    assert app.control.ping(destination=[OTHER]) == [{OTHER: {"ok": "pong"}}]
    assert app.control.inspect(destination=["nobody@host"]).ping() is None


def test_what_runs_and_what_waits_for_a_place() -> None:
    running = start()
    result = errand.apply_async((1,), {"b": 2}, task_id="order-17")
    take()
    ledger.claim([message_id(result.id)], token=running.lease, worker=WORKER, lease_seconds=20)
    [active] = asked("active")[WORKER]
    assert (active["id"], active["acknowledged"], active["time_start"] > 0) == (str(running.id), True, True)
    [reserved] = asked("reserved")[WORKER]
    assert (reserved["id"], reserved["name"], reserved["args"], reserved["kwargs"]) == (
        "order-17", errand.name, [1], {"b": 2},
    )  # fmt: skip
    assert asked("active")[OTHER] == asked("reserved")[OTHER] == []
    found = app.control.inspect().query_task("order-17", "nobody")
    assert {node: list(each) for node, each in found.items()} == {WORKER: ["order-17"], OTHER: []}
    assert found[WORKER]["order-17"][0] == "reserved"


def test_what_waits_for_its_time() -> None:
    later, soon = errand.apply_async((1,), countdown=600), errand.apply_async((2,), countdown=60)
    errand.delay(3)
    scheduled = asked("scheduled")
    assert [each["request"]["id"] for each in scheduled[WORKER]] == [soon.id, later.id]
    assert {each["request"]["hostname"] for each in scheduled[OTHER]} == {OTHER}
    let_pass(1000)
    assert asked("scheduled")[WORKER] == []


def test_what_a_worker_is() -> None:
    assert asked("registered")[WORKER] == ["tests.direct", errand.name]
    assert app.control.inspect().registered("max_retries")[WORKER][1] == f"{errand.name} [max_retries=60]"
    assert [each["name"] for each in asked("active_queues")[WORKER]] == ["default"]
    stats = asked("stats")[WORKER]
    assert (stats["pid"], stats["pool"]["max-concurrency"], stats["total"]) == (17, 2, {errand.name: 5})
    assert "celery:" in asked("report")[WORKER]["ok"]


def test_what_was_revoked() -> None:
    result = errand.apply_async((1,), task_id="order-17")
    result.revoke()
    assert asked("revoked")[WORKER] == ["order-17"]


def test_revoke_replies_where_it_is_asked_to() -> None:
    result = errand.delay(1)
    replies: Any = app.control.revoke(result.id, reply=True)
    assert [node for each in replies for node in each] == [OTHER, WORKER]
    assert "flagged as revoked" in replies[1][WORKER]["ok"]


@pytest.mark.parametrize("command", sorted(CURES))
def test_what_a_worker_cannot_be_told_is_refused_with_the_cure(command: str) -> None:
    with pytest.raises(ControlRefusedError, match=command) as refused:
        app.control.broadcast(command)
    assert CURES[command] in str(refused.value)
    assert command not in ANSWERS


@pytest.mark.parametrize(
    "call",
    [
        lambda control: control.add_consumer("another"),
        lambda control: control.autoscale(10, 1),
        lambda control: control.pool_grow(2),
        lambda control: control.rate_limit(errand.name, "1/s"),
        lambda control: control.shutdown(),
        lambda control: control.time_limit(errand.name, hard=5),
        lambda control: control.broadcast("no_such_command"),
    ],
)
def test_a_call_that_cannot_be_honoured_never_answers_nothing(call: Any) -> None:
    with pytest.raises(ControlRefusedError):
        call(app.control)


def test_a_purge_spares_what_would_come_again() -> None:
    errand.delay(1)
    take()
    with pytest.raises(ControlRefusedError, match="published again"):
        app.control.purge()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status"], "2 nodes online"),
        (["inspect", "ping"], "pong"),
        (["inspect", "registered"], errand.name),
        (["inspect", "active"], "2 nodes online"),
        (["inspect", "stats"], '"pid": 17'),
    ],
    ids=str,
)
def test_celerys_commands(words: list[str], expected: str) -> None:
    answer = CliRunner().invoke(celery_command, ["-A", "app", *words])
    assert answer.exit_code == 0, answer.output
    assert expected in answer.output
    assert WORKER in answer.output
