"""A queue or task that is paused: nothing new of it begins, and everyone who looks is told."""

from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from app.doctor import outbox as doctor
from app.telemetry.metrics_state import describe_outbox
from console import views
from console.live import Live
from console.overview import describe_status
from outbox import ledger
from outbox.ledger import Answer
from outbox.models import Pause
from tests.orders_shop import add_user
from tests.outbox_command import outbox, outbox_json, refusal
from tests.outbox_rows import LEASE_SECONDS, TASK, WORKER, add, again, claim, let_pass, publish, row, start, state

pytestmark = pytest.mark.django_db

SUMMARY = "orders.tasks.send_daily_summary"


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_what_a_broker_was_given_waits_again_since_when_it_did() -> None:
    published, other = publish(), publish(task="tests.other", queue="mails")
    let_pass(10)
    assert ledger.pause("queue", "default", by="ada")
    held = row(published)
    assert (held.state, held.publishes, held.due_at) == ("pending", 0, held.wanted_at)
    assert state(other) == "published"


def test_what_runs_ends_and_nothing_new_begins() -> None:
    running, published = start(), publish()
    pending = add()
    assert ledger.pause("task", TASK, by="ada")
    assert ledger.renew([running], lease_seconds=LEASE_SECONDS) == {running.id}
    assert ledger.complete(running)
    assert [claim(id) for id in (published, pending)] == [None, None]


def test_a_message_that_was_delivered_before_the_pause_is_answered_and_waits() -> None:
    published = publish()
    Pause.objects.create(kind="queue", name="default", by="ada")
    assert ledger.claim([published], token=uuid4(), worker=WORKER, lease_seconds=LEASE_SECONDS) == []
    assert ledger.explain([published]) == {published: Answer.DUPLICATE}
    assert state(published) == "pending"


def test_what_has_waited_is_due_at_once_when_it_is_resumed() -> None:
    published = publish()
    assert ledger.pause("queue", "default", by="ada")
    assert ledger.resume("queue", "default", by="grace")
    assert ledger.pauses() == []
    again(published)


def test_only_the_queue_or_the_task_of_that_name_is_paused() -> None:
    ledger.pause("task", "default", by="ada")
    ledger.pause("queue", TASK, by="ada")
    assert claim(publish())


def test_pausing_twice_changes_nothing() -> None:
    assert ledger.pause("queue", "default", by="ada")
    assert not ledger.pause("queue", "default", by="grace")
    [pause] = ledger.pauses()
    assert (pause.kind, pause.name, pause.by) == ("queue", "default", "ada")
    assert ledger.resume("queue", "default", by="ada")
    assert not ledger.resume("queue", "default", by="ada")


def test_what_is_paused_can_be_discarded_and_pruned() -> None:
    pending = add()
    ledger.pause("queue", "default", by="ada")
    assert ledger.discard([pending], by="ada") == 1
    let_pass(2 * 86_400)
    assert ledger.prune(keep_days=1, limit=10) == 1


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_queue_is_paused_and_resumed_by_hand() -> None:
    published = publish()
    said = outbox("pause", "default")
    assert said == (
        "The queue default is paused: what runs ends, nothing new begins. To go on: manage.py outbox resume default\n"
    )
    assert state(published) == "pending"
    assert "is paused already, by" in outbox("pause", "default")
    assert outbox("resume", "default") == "The queue default goes on.\n"
    assert outbox("resume", "default") == "The queue default was not paused.\n"


def test_a_task_is_paused_and_resumed_by_hand() -> None:
    done = outbox_json("pause", "--task", SUMMARY)
    assert (done["action"], done["changed"], done["kind"], done["name"]) == ("pause", True, "task", SUMMARY)
    assert done["cure"] == f"manage.py outbox resume --task {SUMMARY}"
    assert done["by"].endswith("(command line)")
    assert outbox_json("resume", "--task", SUMMARY)["changed"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["defualt"], "'defualt' is not a queue of this service: choose default. Did you mean 'default'?"),
        (["--task", f"{SUMMARY}s"], f"Did you mean '{SUMMARY}'?"),
        ([], "Say what: either a queue, or --task NAME."),
        (["default", "--task", SUMMARY], "Say what: either a queue, or --task NAME."),
    ],
)
def test_what_nobody_knows_is_refused_with_the_nearest_name(words: list[str], error: str) -> None:
    for action in ("pause", "resume"):
        assert error in refusal(action, *words)
    assert not Pause.objects.exists()


def test_a_task_of_another_release_can_be_paused_while_its_messages_wait() -> None:
    add(task="orders.tasks.renamed")
    assert "is paused" in outbox("pause", "--task", "orders.tasks.renamed")


def test_a_queue_that_is_no_longer_served_can_be_resumed() -> None:
    ledger.pause("queue", "forgotten", by="ada")
    assert outbox("resume", "forgotten") == "The queue forgotten goes on.\n"


# --- who says so ------------------------------------------------------------------------------------------------------


@pytest.fixture
def paused() -> UUID:
    """A message of a queue that is paused, and has been due for long."""
    id = publish()
    ledger.pause("queue", "default", by="ada")
    let_pass(600)
    return id


@pytest.mark.usefixtures("paused")
def test_status_says_what_is_paused_by_whom_and_how_it_goes_on() -> None:
    status = outbox_json("status")
    [pause] = status["pauses"]
    assert (pause["kind"], pause["name"], pause["by"]) == ("queue", "default", "ada")
    assert 0 <= pause["age_seconds"] < 60
    assert pause["since"]
    assert "The queue default has been paused for 0 s by ada: manage.py outbox resume default" in outbox("status")


@pytest.mark.usefixtures("paused")
def test_what_is_paused_is_neither_due_nor_late() -> None:
    [queue] = outbox_json("status")["queues"]
    assert (queue["pending"], queue["due"], queue["lag_seconds"]) == (1, 0, None)


@pytest.mark.usefixtures("paused")
def test_the_doctor_warns_of_it_and_of_nothing_else() -> None:
    found = [(each.level, each.name, each.cure) for each in doctor.examine() if each.level != "ok"]
    assert found == [("warn", "queue default", "manage.py outbox resume default")]


@pytest.mark.usefixtures("paused")
def test_a_metric_tells_what_is_paused() -> None:
    [family] = [each for each in describe_outbox(describe_status()) if each.name == "anybroker_paused"]
    assert [(each.labels, each.value) for each in family.samples] == [({"kind": "queue", "name": "default"}, 1)]


# --- the console ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A web process that has remembered nothing yet."""
    monkeypatch.setattr(views, "LIVE", Live())


def browser(user: User) -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)
    return client


@pytest.fixture
def boss() -> Client:
    return browser(User.objects.create_superuser("boss"))


@pytest.fixture
def onlooker() -> Client:
    """Staff without any permission."""
    return browser(add_user("onlooker", is_staff=True))


def page(client: Client) -> str:
    views.LIVE.forget()
    return client.get("/console/").content.decode()


def test_the_console_pauses_a_queue_and_resumes_it(boss: Client) -> None:
    assert 'aria-label="Pause the queue default"' in page(boss)
    answer = boss.post("/console/pause/", {"queue": "default"}, follow=True)
    assert "The queue default is paused" in answer.content.decode()
    [pause] = ledger.pauses()
    assert pause.by == "boss (console)"
    assert 'aria-label="Resume the queue default"' in page(boss)
    assert 'aria-label="Pause the queue default"' not in page(boss)
    answer = boss.post("/console/resume/", {"queue": "default"}, follow=True)
    assert "The queue default goes on" in answer.content.decode()
    assert ledger.pauses() == []


def test_the_console_resumes_a_task(boss: Client) -> None:
    ledger.pause("task", SUMMARY, by="ada")
    assert f'name="task" value="{SUMMARY}"' in page(boss)
    boss.post("/console/resume/", {"task": SUMMARY})
    assert ledger.pauses() == []


@pytest.mark.usefixtures("paused")
def test_staff_without_the_permission_see_the_pause_and_cannot_change_it(onlooker: Client) -> None:
    shown = page(onlooker)
    assert "has been paused for" in shown
    assert ">Resume<" not in shown
    assert ">Pause<" not in shown
    assert onlooker.post("/console/resume/", {"queue": "default"}).status_code == 403
    assert onlooker.post("/console/pause/", {"queue": "default"}).status_code == 403
    assert len(ledger.pauses()) == 1


@pytest.mark.parametrize("address", ["/console/pause/", "/console/resume/"])
def test_it_takes_a_form_of_ours(address: str, boss: Client, client: Client, settings: Settings) -> None:
    assert boss.get(address).status_code == 405
    assert client.post(address).status_code == 302
    for name in ("", "nonsense", "\0"):
        assert b"Nothing was" in boss.post(address, {"queue": name}, follow=True).content
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="boss"))
    assert strict.post(address, {"queue": "default"}).status_code == 403
    assert not Pause.objects.exists()
