"""What has happened to a message, and what workers have answered: told by the command, the admin and the console."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client

from app.doctor import outbox as doctor
from console.page import describe_activity
from console.presentation import describe_details
from outbox import ledger
from outbox.heartbeat import Heart
from outbox.models import Message
from tests.harness.service import Service
from tests.harness.waiting import wait_until
from tests.outbox_command import outbox, outbox_json
from tests.outbox_rows import LEASE_SECONDS, WORKER, add, again, die, let_pass, publish, start


def refuse(id: UUID, reason: str = "is a task that this worker does not know") -> None:
    """Refuse a published message, as a worker does that does not know its task."""
    claims = ledger.claim([id], token=uuid4(), worker=WORKER, lease_seconds=LEASE_SECONDS)
    ledger.refuse(claims, [reason], worker=WORKER, give_up_days=7)


# --- one message ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_show_tells_when_a_message_was_claimed_and_begun_by_whom_and_how_long_it_ran() -> None:
    claim = start()
    Message.objects.update(begun_at=F("begun_at") - timedelta(seconds=12))
    assert ledger.complete(claim)
    facts = outbox_json("show", claim.id)
    assert facts["worker"] == WORKER
    assert facts["claimed_at"]
    assert facts["begun_at"]
    assert 12 <= facts["ran_seconds"] < 60
    assert facts["running_seconds"] is None
    said = outbox("show", claim.id)
    for name in ("claimed_at", "begun_at", "ran_seconds", WORKER):
        assert name in said


@pytest.mark.django_db
def test_show_tells_how_long_a_message_has_been_running() -> None:
    claim = start()
    let_pass(90)
    facts = outbox_json("show", claim.id)
    assert 90 <= facts["running_seconds"] < 150
    assert facts["ran_seconds"] is None


@pytest.mark.django_db
def test_show_tells_a_line_for_each_attempt_that_failed_and_for_each_decision() -> None:
    claim = start()
    assert ledger.retry(claim, error="Traceback\nOSError: no route", seconds=1.5)
    assert ledger.fail(again(claim.id), error="Traceback\nValueError: never")
    ledger.replay([claim.id], by="ada")
    first, second, replayed = outbox_json("show", claim.id)["history"]
    assert "attempt 1" in first
    assert "OSError: no route" in first
    assert "attempt 2" in second
    assert "ValueError: never" in second
    assert "replayed by ada" in replayed
    assert first in outbox("show", claim.id)


@pytest.mark.django_db
def test_show_tells_since_when_a_message_is_refused_and_why() -> None:
    id = publish()
    refuse(id)
    let_pass(14 * 60)
    facts = outbox_json("show", id)
    assert facts["refused"] == f"for 14 min: Refused by {WORKER}: is a task that this worker does not know"
    assert facts["refused_at"]
    assert facts["begun_at"] is None
    assert "for 14 min: Refused by" in outbox("show", id)
    again(id)
    assert outbox_json("show", id)["refused"] is None


@pytest.mark.django_db
def test_show_tells_that_a_message_waits_because_someone_has_paused_it() -> None:
    id, done = add(), start(task="tests.other")
    assert ledger.complete(done)
    ledger.pause("queue", "default", by="ada")
    paused = outbox_json("show", id)["paused"]
    assert paused == "The queue default has been paused for 0 s by ada: manage.py outbox resume default"
    assert outbox_json("show", done.id)["paused"] is None


@pytest.mark.django_db
def test_the_admin_shows_the_same(client: Client) -> None:
    id = publish()
    refuse(id)
    client.force_login(User.objects.create_superuser("boss"))
    shown = client.get(f"/admin/outbox/message/{id}/change/").content.decode()
    for part in ("claimed_at", WORKER, "refused_at", "Refused by"):
        assert part in shown, part


@pytest.mark.django_db
def test_the_list_stays_narrow() -> None:
    add()
    head = outbox("list").splitlines()[0]
    assert head.split() == ["ID", "STATE", "TASK", "QUEUE", "ATTEMPTS", "AGE", "ERROR"]


# --- what workers answered --------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_refused_messages_are_counted_and_listed_with_the_cure() -> None:
    refused, _ = publish(), die()
    refuse(refused)
    add()
    [queue] = outbox_json("status")["queues"]
    assert queue["refused"] == 1
    assert (
        "1 is refused by the workers: manage.py outbox list --refused. Deploy a worker that knows its task."
        in outbox("status")
    )
    assert [row["id"] for row in outbox_json("list", "--refused")] == [str(refused)]
    [finding] = [each for each in doctor.examine() if "refused" in each.message]
    assert finding.level == "warn"
    assert "manage.py outbox list --refused" in finding.cure


@pytest.mark.django_db
def test_what_a_worker_has_taken_at_last_is_no_longer_refused() -> None:
    id = publish()
    refuse(id)
    let_pass(60)
    again(id)
    [queue] = outbox_json("status")["queues"]
    assert queue["refused"] == 0


ANSWERS = {"claimed": 1200, "duplicate": 4, "refused": 1200, "expired": 0, "unknown": 2}


def test_a_worker_tells_only_of_unusual_answers() -> None:
    assert describe_details({"pool": "prefork", "answers": ANSWERS}) == "pool=prefork refused=1200 unknown=2"
    assert describe_details({"pool": "prefork", "answers": {"claimed": 3}}) == "pool=prefork"
    assert list(describe_activity("worker", {"done": 3, "answers": ANSWERS})) == [
        "idle",
        "3 done",
        "1,200 refused",
        "2 unknown",
    ]


@pytest.mark.django_db
def test_status_tells_what_workers_have_answered() -> None:
    Heart("worker", every_seconds=0).beat(answers=ANSWERS)
    [process] = outbox_json("status")["processes"]
    assert process["details"]["answers"] == ANSWERS
    assert "refused=1200 unknown=2" in outbox("status")


ENQUEUE = "from outbox import ledger; ledger.enqueue('tests.renamed', [], {{}}, queue={queue!r})"


@pytest.mark.brokers("redis")
def test_the_heartbeat_of_a_worker_counts_its_answers(service: Service) -> None:
    service.manage("shell", "-c", ENQUEUE.format(queue=service.queue))
    service.start_relay(wait=False)
    service.start_worker(OUTBOX_HEARTBEAT_SECONDS="1")

    def answers() -> Any:
        processes = json.loads(service.manage("outbox", "status", "--json"))["processes"]
        return next((each["details"].get("answers") for each in processes if each["kind"] == "worker"), None)

    assert wait_until(answers, "a worker that has answered")["refused"] >= 1
