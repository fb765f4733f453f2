"""`manage.py outbox`, used as from a shell."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import F

from outbox import ledger
from outbox.heartbeat import Heart
from outbox.models import Heartbeat, Message
from settings import PROJECT_ROOT
from tests.harness.environment import child_environment
from tests.harness.servers import Servers
from tests.outbox_command import outbox, outbox_json, refusal
from tests.outbox_rows import ERROR, TASK, add, die, publish, row, start, state
from workers import poison

pytestmark = pytest.mark.django_db

NOBODY = UUID("00000000-0000-7000-8000-000000000000")


def finish() -> UUID:
    """Make a message that is done."""
    claim = start()
    assert ledger.complete(claim)
    return claim.id


def make_older(id: UUID, **ages: timedelta) -> None:
    """Move times of a message into the past."""
    Message.objects.filter(pk=id).update(**{name: F(name) - age for name, age in ages.items()})


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A terminal as standard input; call it with what the person types."""
    keyboard, screen = os.openpty()
    with os.fdopen(screen) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield lambda text: os.write(keyboard, text.encode())
    os.close(keyboard)


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_counts_each_queue_and_state() -> None:
    die(), finish(), start(), publish()
    add(), add(countdown=3600)
    add(queue="mails")
    status = outbox_json("status")
    [default, mails] = status["queues"]
    lag, *lags = (default.pop(name) for name in ("lag_seconds", "relay_lag_seconds", "worker_lag_seconds"))
    assert default == {
        "queue": "default", "pending": 2, "due": 1, "published": 1, "running": 1, "done": 1, "dead": 1, "discarded": 0,
        "refused": 0,
    }  # fmt: skip
    assert 0 <= min(lags) <= max(lags) <= lag < 60
    assert (mails["queue"], mails["pending"]) == ("mails", 1)
    assert status["max_in_flight"] == settings.OUTBOX.max_in_flight


def test_status_tells_how_long_the_oldest_has_waited() -> None:
    make_older(publish(), wanted_at=timedelta(minutes=14))
    make_older(add(), wanted_at=timedelta(minutes=3), due_at=timedelta(minutes=3))
    add(countdown=3600)
    [queue] = outbox_json("status")["queues"]
    assert 14 * 60 <= queue["lag_seconds"] < 15 * 60
    assert 3 * 60 <= queue["relay_lag_seconds"] < 4 * 60
    assert "14 min" in outbox("status")


def test_a_message_whose_time_has_not_come_is_no_lag() -> None:
    add(countdown=3600)
    make_older(start().id, created_at=timedelta(hours=1))
    [queue] = outbox_json("status")["queues"]
    assert (queue["due"], queue["lag_seconds"]) == (0, None)


def test_status_says_who_is_alive_and_what_to_do() -> None:
    said = outbox("status")
    assert "manage.py relay" in said
    assert "celery -A app worker" in said
    for kind in ("relay", "worker"):
        Heart(kind, every_seconds=0).beat(queues=["default"], running=["x", "y"])
    status = outbox_json("status")
    assert status["notes"] == []
    assert [(each["kind"], each["details"]["queues"]) for each in status["processes"]] == [
        ("relay", ["default"]),
        ("worker", ["default"]),
    ]
    assert 0 <= status["processes"][0]["age_seconds"] < 60
    assert f"worker:{socket.gethostname()}:{os.getpid()}" in outbox("status")
    assert "queues=default running=2" in outbox("status")


def test_a_process_that_missed_its_heartbeats_is_not_alive() -> None:
    Heart("relay", every_seconds=0).beat()
    Heartbeat.objects.update(seen_at=F("seen_at") - timedelta(minutes=5))
    assert outbox_json("status")["processes"] == []


def test_status_points_out_what_needs_a_person() -> None:
    die()
    add(queue="forgotten")
    poison.keep_raw(b"\x80garbage", "cannot be decoded")
    Heart("worker", every_seconds=0).beat(connected=False)
    notes = "\n".join(outbox_json("status")["notes"])
    assert "1 dead: manage.py outbox list --state dead" in notes
    assert "1 could not be read: manage.py outbox poison" in notes
    assert "Nobody serves the queue 'forgotten'" in notes
    assert f"worker:{socket.gethostname()}:{os.getpid()} is not connected to the broker." in notes


# --- list and show ----------------------------------------------------------------------------------------------------


def test_list_chooses_by_state_task_and_queue() -> None:
    dead, pending = die(), add()
    other = add(task="orders.tasks.send_daily_summary", queue="mails")

    def ids(*arguments: str) -> list[str]:
        return [row["id"] for row in outbox_json("list", *arguments)]

    assert ids() == [str(other), str(pending), str(dead)]
    assert ids("--state", "dead") == [str(dead)]
    assert ids("--task", TASK) == [str(pending), str(dead)]
    assert ids("--queue", "mails") == [str(other)]
    assert ids("--limit", "1") == [str(other)]
    table = outbox("list")
    assert "ValueError: no" in table
    assert all(str(id) in table for id in (dead, pending, other))


def test_list_chooses_by_when_it_ended_or_else_was_enqueued() -> None:
    ended_lately, ended_long_ago = die(), die()
    make_older(ended_lately, created_at=timedelta(hours=13))
    make_older(ended_long_ago, created_at=timedelta(hours=13), finished_at=timedelta(hours=12))
    waits_long = add()
    make_older(waits_long, created_at=timedelta(hours=3))
    waits = add()
    since_two_hours = [str(waits), str(ended_lately)]
    two_hours_ago = datetime.now(UTC) - timedelta(hours=2)
    for since in ("2h", "120m", "7200s", two_hours_ago.isoformat(), f"{two_hours_ago:%Y-%m-%dT%H:%M:%SZ}"):
        assert [row["id"] for row in outbox_json("list", "--since", since)] == since_two_hours, since
    assert len(outbox_json("list", "--since", "7d")) == 4


def test_what_is_misspelled_is_refused() -> None:
    assert "'2x' is neither an age like 2h nor a time" in refusal("list", "--since", "2x")
    assert "neither" in refusal("list", "--since", "2026-13-01")
    assert "invalid choice: 'dying'" in refusal("list", "--state", "dying")
    assert refusal("list", "--task", "no.such.task") == "No message matches."


def test_show_tells_everything_about_a_message() -> None:
    order_id = uuid4()
    claim = start(order_id, "ä@example.com", Decimal("1.50"), headers={"traceparent": "00-ab"}, max_attempts=3)
    ledger.fail(claim, error=ERROR)
    id = claim.id
    outbox("replay", id)
    said = outbox("show", id)
    for part in (id, TASK, "pending", order_id, "ä@example.com", "1.50", "00-ab", ERROR.splitlines()[0], "replayed by"):
        assert str(part) in said, part
    facts = outbox_json("show", id)
    assert facts["arguments"] == {"args": [str(order_id), "ä@example.com", "1.50"], "kwargs": {}}
    assert facts["headers"] == {"traceparent": "00-ab"}
    assert facts["error"] == "ValueError: no"
    assert facts["last_error"].startswith("Traceback")
    assert (facts["attempts"], facts["max_attempts"]) == (1, 3)


def test_the_beginning_of_an_id_will_do_if_it_is_the_only_one() -> None:
    first = add(id=UUID("01a20385-e25d-774d-868b-c6472569e5f0"))
    add(id=UUID("01a20385-e270-7048-ad4a-79169a9d31a4"))
    for text in ("01a20385-e25", "01A20385E25", str(first), first.hex):
        assert outbox_json("show", text)["id"] == str(first), text
    assert "'01a2' is the beginning of several: 01a20385-e25d" in refusal("show", "01a2")


@pytest.mark.parametrize("text", [NOBODY, "ffff", "order-12", "", "%", "-" * 3 + "0" * 33])
def test_an_id_that_nobody_has_is_refused_with_a_cure(text: object) -> None:
    add()
    arguments = ("show", "--", text)
    assert refusal(*arguments).startswith(f"There is no message {str(text)!r}. IDs: manage.py outbox list.")


def test_what_an_error_quotes_is_not_obeyed_by_the_terminal() -> None:
    claim = start()
    ledger.fail(claim, error="Traceback\nSMTPError: \x1b[2J\x1b]0;owned\x07")
    said = outbox("show", claim.id) + outbox("list")
    assert "SMTPError" in said
    assert "\x1b" not in said


# --- replay, discard and republish ------------------------------------------------------------------------------------


def test_replay_gives_a_dead_message_new_attempts_and_records_who_asked() -> None:
    id = die()
    assert outbox("replay", str(id)[:18]) == "Replayed 1 message.\n"
    assert state(id) == "pending"
    assert f" replayed by {whoami()}\n" in row(id).history


def test_replay_chooses_dead_messages_by_task_and_time() -> None:
    wanted, too_old, done = die(), die(), finish()
    other_claim = start(task="tests.other")
    assert ledger.fail(other_claim, error=ERROR)
    make_older(too_old, finished_at=timedelta(hours=3))
    assert outbox("replay", "--task", TASK, "--since", "2h") == "Replayed 1 message.\n"
    assert [state(id) for id in (wanted, too_old, other_claim.id, done)] == ["pending", "dead", "dead", "done"]
    assert outbox_json("replay", "--all", "--yes")["messages"] == 2


def test_more_ids_than_one_statement_can_name_are_replayed() -> None:
    Message.objects.bulk_create(
        Message(task=TASK, arguments="[[], {}]", queue="default", state="dead") for _ in range(2500)
    )
    assert outbox("replay", "--all", "--yes") == "Replayed 2500 messages.\n"
    assert not Message.objects.exclude(state="pending").exists()


def test_discard_takes_dead_and_waiting_messages() -> None:
    dead, published = die(), publish()
    pending = add()
    assert outbox("discard", dead, published, pending, "--yes") == "Discarded 3 messages.\n"
    assert {state(id) for id in (dead, published, pending)} == {"discarded"}


def test_discard_without_ids_takes_only_what_is_dead() -> None:
    dead, pending = die(), add()
    assert outbox_json("discard", "--all") == {"action": "discard", "messages": 1, "by": whoami()}
    assert (state(dead), state(pending)) == ("discarded", "pending")


def whoami() -> str:
    name = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{name}@{socket.gethostname()} (command line)"


def test_a_message_in_the_wrong_state_is_refused_with_a_cure_and_nothing_is_changed() -> None:
    dead, done, running = die(), finish(), start().id
    published = publish()
    assert refusal("replay", dead, done, "--yes").startswith(
        f"{done} is done: it cannot be replayed. To have it happen"
    )
    assert "cannot be discarded. A worker has begun it" in refusal("discard", dead, running, "--yes")
    assert "manage.py outbox republish" in refusal("replay", published)
    assert "There is no message" in refusal("replay", dead, NOBODY)
    assert state(dead) == "dead"


def test_a_decision_needs_ids_or_a_choice_and_not_both() -> None:
    dead = die()
    for arguments in ((), (dead, "--all"), (dead, "--task", TASK)):
        assert refusal("replay", *arguments).startswith("Say what to replay")
    assert refusal("discard", "--task", "no.such.task") == "No dead message matches: nothing to discard."
    assert state(dead) == "dead"


def test_without_a_terminal_many_need_a_yes_in_advance() -> None:
    ids = [die(), die()]
    assert refusal("replay", "--all") == (
        "Replay 2 messages? Nobody can answer, stdin is no terminal: to mean it, add --yes."
    )
    assert {state(id) for id in ids} == {"dead"}


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_at_a_terminal_many_are_counted_and_asked_about(terminal: Any, answer: str) -> None:
    ids = [die(), die()]
    terminal(answer)
    question = io.StringIO()
    call_command("outbox", "replay", "--all", stdout=io.StringIO(), stderr=question, no_color=True)
    assert question.getvalue() == f"      2  {TASK}\nReplay 2 messages? [y/N] "
    assert {state(id) for id in ids} == {"pending"}


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"])
def test_any_other_answer_changes_nothing(terminal: Any, answer: str) -> None:
    ids = [die(), die()]
    terminal(answer)
    assert refusal("discard", "--all") == "Nothing was changed."
    assert {state(id) for id in ids} == {"dead"}


def test_republish_makes_due_what_the_broker_holds() -> None:
    publish()
    published, running = publish(), start().id
    assert "Republish 2 messages?" in refusal("republish")
    assert outbox("republish", "--yes") == "Republished 2 messages.\n"
    assert (state(published), state(running)) == ("pending", "running")
    assert outbox("republish") == "Republished 0 messages.\n"


# --- poison -----------------------------------------------------------------------------------------------------------


def test_poison_shows_what_could_not_be_read() -> None:
    assert outbox("poison") == "Everything could be read.\n"
    poison.keep_raw(b"\x80\x04hello\x1b[2J", "cannot be decoded: \x1b[2J", queue="default")
    [row] = outbox_json("poison")
    assert "cannot be decoded" in outbox("poison")
    assert "body" not in row
    said = outbox("poison", row["key"][:8])
    assert "80 04 68 65 6c 6c 6f" in said
    assert "..hello.[2J" in said
    assert "\x1b" not in said + outbox("poison")
    assert outbox_json("poison", row["key"])["body"] == b"\x80\x04hello\x1b[2J".hex()
    assert refusal("poison", "zz") == "There is no message 'zz'. KEYs: manage.py outbox poison"


# --- when things go wrong ---------------------------------------------------------------------------------------------


def test_watching_ends_with_ctrl_c_and_without_a_traceback(
    tmp_path: Path, servers: Servers, django_database: str
) -> None:
    environment = child_environment(tmp_path, DATABASE_URL=servers.databases(django_database).url("django"))
    command = [sys.executable, "manage.py", "outbox", "status", "--watch", "--json"]
    with subprocess.Popen(
        command,
        env=environment,
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Who runs the tests in the background of a shell has them ignore Ctrl-C, and what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert [look["queues"][0]["queue"] for look in looks] == ["default", "default"]
    assert (process.returncode, errors) == (0, "")


def test_a_database_without_tables_is_a_line_with_the_cure() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE outbox_heartbeat")  # until the test's transaction is rolled back
    with (
        pytest.raises(CommandError, match=r"^The database says: .*outbox_heartbeat.*manage.py migrate"),
        transaction.atomic(),
    ):
        outbox("status")
