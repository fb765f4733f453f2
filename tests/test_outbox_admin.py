"""The outbox in the back office, used through its pages, and the system checks."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Task, current_app
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.core.checks import run_checks
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from console import admin as outbox_admin
from outbox import ledger
from outbox.heartbeat import Heart
from outbox.models import Heartbeat, Message, PoisonMessage
from tests.outbox_rows import ERROR, TASK, add, die, publish, row, start, state
from workers import poison
from workers.checks import check_outbox

pytestmark = pytest.mark.django_db

MESSAGES, POISON, HEARTBEATS = (f"/admin/outbox/{name}/" for name in ("message", "poisonmessage", "heartbeat"))


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.fixture
def viewer(client: Client) -> Client:
    """Someone who may look at everything of the outbox and change nothing."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="outbox", codename__startswith="view_"))
    client.force_login(user)
    return client


def page_of(client: Client, address: str, **query: str) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200
    return answer.content.decode()


def act(client: Client, action: str, *ids: UUID, **fields: str) -> list[str]:
    """Choose an action for messages of the list; return what the page says then."""
    answer = client.post(MESSAGES, {"action": action, "_selected_action": [str(id) for id in ids], **fields})
    assert answer.status_code in (200, 302)
    return [str(message) for message in get_messages(answer.wsgi_request)]


def test_a_message_is_shown_as_a_whole_and_cannot_be_changed(admin: Client) -> None:
    order_id = uuid4()
    claim = start(order_id, "<b>ada@example.com", headers={"traceparent": "00-ab"})
    ledger.fail(claim, error=ERROR)
    page = f"{MESSAGES}{claim.id}/change/"
    shown = page_of(admin, page)
    for part in (
        str(claim.id),
        TASK,
        str(order_id),
        "&lt;b&gt;ada@example.com",
        "00-ab",
        ERROR.splitlines()[0],
        "<pre",
    ):
        assert part in shown, part
    assert 'name="_save"' not in shown
    assert admin.post(page, {"state": "done"}).status_code == 403
    assert admin.get(f"{MESSAGES}add/").status_code == 403
    assert admin.post(f"{MESSAGES}{claim.id}/delete/", {"post": "yes"}).status_code == 403
    assert state(claim.id) == "dead"


def test_the_list_tells_state_task_age_and_the_errors_own_line(admin: Client) -> None:
    id = die()
    shown = page_of(admin, MESSAGES)
    for part in (str(id), TASK, "Dead", ERROR.splitlines()[-1]):
        assert part in shown, part


def test_messages_are_filtered_by_state_task_queue_and_time(admin: Client) -> None:
    task = "orders.tasks.send_order_confirmation_email"
    dead, waiting = die(), add(task=task)
    for query in ({"state__exact": "pending"}, {"task": task}):
        shown = page_of(admin, MESSAGES, **query)
        assert str(waiting) in shown
        assert str(dead) not in shown
    shown = page_of(admin, MESSAGES, queue="default", created_at__gte="2020-01-01 00:00:00+00:00")
    assert str(waiting) in shown
    assert str(dead) in shown
    choices = page_of(admin, MESSAGES)
    assert f"?task={task}" in choices
    assert "?task=outbox.tasks.prune_messages" in choices
    assert "?queue=default" in choices


def test_messages_are_found_by_id_its_beginning_and_task(admin: Client) -> None:
    wanted = add(id=UUID("01a20385-e25d-774d-868b-c6472569e5f0"))
    other = add(task="shop.other")
    for term in (f" {wanted} ", wanted.hex, "01a20385-e25d", "tests.ta"):
        shown = page_of(admin, MESSAGES, q=term)
        assert str(wanted) in shown, term
        assert str(other) not in shown, term
    for term in ("\0", "%", "ffffffff", "-" * 40):
        page_of(admin, MESSAGES, q=term)


def test_a_search_for_an_id_uses_the_primary_key(admin: Client) -> None:
    id = add()
    with CaptureQueriesContext(connection) as captured:
        page_of(admin, MESSAGES, q=str(id))
    searches = [query["sql"] for query in captured if "outbox_message" in query["sql"] and "BETWEEN" in query["sql"]]
    assert searches
    assert not any("LIKE" in query["sql"].upper() for query in captured)


def queries_of(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        page_of(client, address)
    return len(captured)


@pytest.mark.parametrize(
    ("address", "add_one"),
    [
        (MESSAGES, die),
        (POISON, lambda: poison.keep_raw(uuid4().bytes, "garbage")),
        (HEARTBEATS, lambda: Heartbeat.objects.create(name=str(uuid4()), kind="relay")),
    ],
)
def test_a_list_takes_as_many_queries_for_many_as_for_one(
    admin: Client, address: str, add_one: Callable[[], Any]
) -> None:
    add_one()
    queries_of(admin, address)  # warms the caches of content types
    before = queries_of(admin, address)
    for _ in range(5):
        add_one()
    assert queries_of(admin, address) == before


def test_a_list_neither_fetches_long_columns_nor_counts_without_bound(admin: Client) -> None:
    add("x" * 1000)
    with CaptureQueriesContext(connection) as captured:
        page_of(admin, MESSAGES)
    statements = [query["sql"] for query in captured if "outbox_message" in query["sql"]]
    assert not any('"outbox_message"."arguments"' in statement for statement in statements)
    counts = [statement for statement in statements if "COUNT(*)" in statement]
    assert len(counts) == 1
    assert f"LIMIT {outbox_admin.MOST_ROWS}" in counts[0]


def test_dead_messages_are_replayed_and_who_did_it_is_recorded_twice(admin: Client) -> None:
    dead, other, done = die(), die(), start()
    ledger.complete(done)
    assert act(admin, "replay", dead, other, done.id) == ["Replayed 2 of the selected messages."]
    assert [state(id) for id in (dead, other, done.id)] == ["pending", "pending", "done"]
    assert "replayed by boss (admin)" in row(dead).history
    logged = LogEntry.objects.values_list("user__username", "object_id", "change_message")
    assert set(logged) == {("boss", str(dead), "Replayed."), ("boss", str(other), "Replayed.")}


def test_dead_and_waiting_messages_are_discarded(admin: Client) -> None:
    dead, published, running = die(), publish(), start().id
    assert act(admin, "discard", dead, published, running) == ["Discarded 2 of the selected messages."]
    assert [state(id) for id in (dead, published, running)] == ["discarded", "discarded", "running"]
    assert "discarded by boss (admin)" in row(dead).history


def test_all_pages_of_a_filter_are_replayed_at_once(admin: Client) -> None:
    Message.objects.bulk_create(
        Message(task=TASK, arguments="[[], {}]", queue="default", state="dead") for _ in range(1200)
    )
    first = Message.objects.values_list("pk", flat=True)[0]
    assert act(admin, "replay", first, select_across="1") == ["Replayed 1200 of the selected messages."]
    assert not Message.objects.exclude(state="pending").exists()


def test_what_cannot_be_replayed_is_said(admin: Client) -> None:
    waiting = add()
    assert act(admin, "replay", waiting) == ["None of them is in a state for that."]
    assert not LogEntry.objects.exists()


def test_without_the_permission_to_change_there_are_no_actions(viewer: Client) -> None:
    dead = die()
    shown = page_of(viewer, MESSAGES)
    assert str(dead) in shown
    assert 'value="replay"' not in shown
    act(viewer, "replay", dead)
    assert state(dead) == "dead"


def test_an_unreadable_message_is_shown_byte_by_byte_and_can_be_deleted(admin: Client) -> None:
    poison.keep_raw(b"\x80\x04<b>hello", "cannot be decoded", queue="default")
    message = PoisonMessage.objects.get()
    assert "cannot be decoded" in page_of(admin, POISON)
    shown = page_of(admin, f"{POISON}{message.pk}/change/")
    assert "80 04 3c 62 3e 68 65 6c 6c 6f" in shown
    assert "..&lt;b&gt;hello" in shown
    assert 'name="_save"' not in shown
    assert admin.get(f"{POISON}add/").status_code == 403
    assert admin.post(f"{POISON}{message.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not PoisonMessage.objects.exists()


def test_a_viewer_cannot_delete_unreadable_messages(viewer: Client) -> None:
    poison.keep_raw(b"\x80", "cannot be decoded")
    message = PoisonMessage.objects.get()
    assert viewer.post(f"{POISON}{message.pk}/delete/", {"post": "yes"}).status_code == 403


def test_heartbeats_are_listed_with_their_age_and_cannot_be_changed(admin: Client) -> None:
    Heart("worker", every_seconds=0).beat(pool="prefork", running=["x"])
    shown = page_of(admin, HEARTBEATS)
    assert " s ago" in shown
    assert "pool=prefork running=1" in shown
    name = Heartbeat.objects.get().name.replace(":", "_3A")
    assert "prefork" in page_of(admin, f"{HEARTBEATS}{name}/change/")
    assert admin.post(f"{HEARTBEATS}{name}/delete/", {"post": "yes"}).status_code == 403


# --- checks.py --------------------------------------------------------------------------------------------------------


def test_the_service_passes_the_checks() -> None:
    assert [problem for problem in run_checks() if problem.id and problem.id.startswith("outbox.")] == []


@pytest.mark.parametrize(
    ("option", "value", "id"),
    [
        ("worker_consumer", "celery.worker.consumer:Consumer", "outbox.E002"),
        ("beat_scheduler", "celery.beat:PersistentScheduler", "outbox.E003"),
    ],
)
def test_a_part_of_celerys_own_is_an_error_with_the_cure(option: str, value: str, id: str) -> None:
    before, current_app.conf[option] = current_app.conf[option], value
    try:
        [problem] = check_outbox()
    finally:
        current_app.conf[option] = before
    assert problem.id == id
    assert value in problem.msg
    assert str(problem.hint).startswith(f"Set {option} to 'workers.")


def test_a_task_class_of_celerys_own_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_app, "task_cls", "celery.app.task:Task")
    assert [problem.id for problem in check_outbox()] == ["outbox.E001"]


def test_requests_that_are_no_transaction_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", False)
    assert [problem.id for problem in check_outbox()] == ["outbox.W005"]


def test_a_task_that_was_registered_past_the_app_is_a_warning() -> None:
    past = type("Past", (Task,), {"name": "tests.past", "run": lambda self: None})
    current_app.tasks.register(past())
    try:
        [problem] = check_outbox()
    finally:
        current_app.tasks.unregister("tests.past")
    assert (problem.id, "tests.past" in problem.msg) == ("outbox.W007", True)


def test_a_worker_judged_deaf_between_two_heartbeats_is_a_warning(settings: Any) -> None:
    settings.OUTBOX = settings.OUTBOX.replace(given_by="the test", deaf_after_seconds=5.0)
    [problem] = check_outbox()
    assert problem.id == "outbox.W006"
    assert "OUTBOX_DEAF_AFTER_SECONDS=5 " in problem.msg
