"""The console's pages and who may see them, use them, and what they say."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from app.first_run.processes import find_free_port
from brokers import load_profile
from console import views
from console.last_hour.minutes import first_id_of
from console.live import Live
from orders.models import Order
from orders.tasks import send_order_confirmation_email
from outbox import ledger
from outbox.heartbeat import Heart
from outbox.models import Heartbeat, Message
from tests.orders_shop import add_product, add_user, place_order
from tests.outbox_rows import ERROR, TASK, add, die, publish, row, start, state

pytestmark = pytest.mark.django_db

CONSOLE, UPDATES, REPLAY = "/console/", "/console/updates/", "/console/replay/"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has remembered nothing yet."""
    monkeypatch.setattr(views, "LIVE", Live())


def client_of(user: User) -> Client:
    """A browser in which someone has logged in."""
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)
    return client


@pytest.fixture
def boss() -> Client:
    return client_of(User.objects.create_superuser("boss"))


@pytest.fixture
def onlooker() -> Client:
    """Staff without any permission."""
    return client_of(add_user("onlooker", is_staff=True))


def page(client: Client, address: str = CONSOLE) -> str:
    """What a page says now."""
    views.LIVE.forget()
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


# --- who may do what --------------------------------------------------------------------------------------------------


def test_anonymous_visitors_are_asked_to_log_in(client: Client) -> None:
    answer = client.get(CONSOLE)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/console/")
    assert client.post(REPLAY).status_code == 302
    assert client.get(UPDATES).status_code == 401


def test_customers_are_refused() -> None:
    dead = die()
    customer = client_of(add_user())
    answer = customer.get(CONSOLE)
    assert answer.status_code == 403
    assert b"for staff" in answer.content
    assert customer.post(REPLAY, {"id": dead}).status_code == 403
    assert customer.get(UPDATES).status_code == 401
    assert state(dead) == "dead"


def test_staff_without_the_permission_see_dead_letters_and_cannot_replay_them(onlooker: Client) -> None:
    dead = die()
    shown = page(onlooker)
    assert str(dead) in shown
    assert ">Replay<" not in shown
    assert onlooker.post(REPLAY, {"id": dead}).status_code == 403
    assert state(dead) == "dead"


def test_staff_with_the_permission_replay_a_dead_letter_and_it_is_recorded() -> None:
    dead, other = die(), die()
    user = add_user("grace", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="change_message"))
    client = client_of(user)
    assert page(client).count(">Replay<") == 2

    answer = client.post(REPLAY, {"id": dead}, follow=True)

    assert answer.redirect_chain == [(CONSOLE, 302)]
    assert answer.content.count(b">Replay<") == 1
    assert b"Replayed" in answer.content
    assert "replayed by grace (console)" in row(dead).history
    assert [state(dead), state(other)] == ["pending", "dead"]


@pytest.mark.parametrize("id", ["", "nonsense", "\0", "8b0a3c1e-2f64-4c0b-9a57-d3e1f2a4b6c8"])
def test_what_is_not_dead_is_not_replayed(boss: Client, id: str) -> None:
    answer = boss.post(REPLAY, {"id": id}, follow=True)
    assert b"Nothing was replayed" in answer.content


def test_a_replay_needs_the_form_it_came_from() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("boss"))
    dead = die()
    assert client.post(REPLAY, {"id": dead}).status_code == 403
    assert client.get(REPLAY).status_code == 405
    assert state(dead) == "dead"


# --- what they say ----------------------------------------------------------------------------------------------------


def counts(shown: str) -> list[str]:
    """The numbers of the pipeline, from accepted to dead."""
    return [part.partition("<")[0] for part in shown.split('<p class="count">')[1:]]


def test_the_pipeline_counts_each_stage(boss: Client) -> None:
    ledger.complete(start())
    for make in (die, start, publish, publish, add):
        make()
    add(countdown=3600)
    shown = page(boss)
    assert counts(shown) == ["7", "2", "2", "1", "1", "1"]
    assert "1 done and 1 dead in the last hour" in shown
    assert '<a href="#dead">1 dead letter</a> waits for a decision' in shown


def test_an_error_is_shown_with_its_traceback_and_nothing_in_it_is_html(boss: Client) -> None:
    claim = start()
    Message.objects.update(task="shop.tasks.<b>")
    ledger.fail(claim, error=f"{ERROR}\n<script>alert(1)</script>")
    shown = page(boss)
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script>alert" not in shown
    assert "<h3>&lt;b&gt;</h3>" in shown
    assert ERROR.splitlines()[0] in shown


def test_latest_orders_show_how_far_their_mail_is(boss: Client) -> None:
    add_product()
    customer = add_user()
    orders = [place_order(customer) for _ in range(2)]
    task = send_order_confirmation_email.delay(orders[1].order_id, "ada@example.com")
    Order.objects.filter(pk=orders[1].pk).update(confirmation_task_id=task.id)
    Order.objects.filter(pk=orders[0].pk).update(confirmation_state="withdrawn")
    shown = page(boss)
    assert shown.index(orders[1].number) < shown.index(orders[0].number)
    assert f'<a class="pill pending" href="/admin/outbox/message/{task.id}/change/">pending</a>' in shown
    assert '<span class="pill withdrawn">withdrawn</span>' in shown
    assert "16.00 EUR" in shown


def test_processes_show_what_they_do_and_the_silent_ones_are_named(boss: Client) -> None:
    claim = start()
    Message.objects.update(task="shop.tasks.wrap")
    Heart("worker", every_seconds=0).beat(
        pool="prefork", done=12, running=[str(claim.id), "not-of-the-outbox"], connected=True, broker="redis"
    )
    Heartbeat.objects.create(name="relay:web-1:7", kind="relay", seen_at=Now() - timedelta(minutes=5))
    Heartbeat.objects.create(name="beat:web-1:8", kind="beat", seen_at=Now() - timedelta(hours=5))
    shown = page(boss)
    for part in (
        '<span class="task">wrap</span><span class="task">a task</span>12 done · prefork · on redis',
        "silent for 5 min",
        "relay:web-1:7 has been silent for too long",
        "No relay is alive, so nothing is published. Start one: manage.py relay",
    ):
        assert part in shown, part
    assert "No worker is alive" not in shown
    assert "web-1:8" not in shown


def test_a_broker_that_is_away_is_named_with_its_cure(boss: Client, settings: Settings) -> None:
    port = find_free_port()
    settings.BROKER_PROFILE = load_profile("redis", environ={"REDIS_URL": f"redis://:secret@127.0.0.1:{port}/0"})
    shown = page(boss)
    assert "Redis needs attention" in shown
    assert f"Cannot reach Redis at 127.0.0.1:{port}" in shown
    assert "Start it: docker compose -f compose.redis.yml up -d redis" in shown
    assert "Orders are accepted all the same" in shown
    assert "secret" not in shown


def test_all_is_well_when_it_is(boss: Client) -> None:
    for kind in ("relay", "worker"):
        Heart(kind, every_seconds=0).beat(broker="redis")
    shown = page(boss)
    assert "Everything is well" in shown
    assert "No order has been placed yet." in shown


def test_what_was_read_a_moment_ago_is_shown_to_everyone(boss: Client) -> None:
    other = client_of(User.objects.create_superuser("other"))
    before = page(boss, UPDATES)
    add()
    with CaptureQueriesContext(connection) as captured:
        assert other.get(UPDATES).content.decode() == before
    assert not [query for query in captured if "outbox_" in query["sql"]]


def test_an_update_takes_as_many_queries_for_many_as_for_one(boss: Client) -> None:
    def queries() -> int:
        views.LIVE.forget()
        with CaptureQueriesContext(connection) as captured:
            assert boss.get(UPDATES).status_code == 200
        return len(captured)

    add_product(stock=100)
    makers: list[Callable[[], object]] = [add, publish, start, die]
    customer = add_user()
    for make in makers:
        make()
    place_order(customer)
    queries()
    before = queries()
    for _ in range(5):
        for make in makers:
            make()
        place_order(customer)
    assert queries() <= before
    assert before < 22  # three more of them in the second in which a minute ends


def test_nothing_reads_all_that_is_stored(boss: Client) -> None:
    """Each statement about messages searches an index: it does not scan the table."""
    old = first_id_of(timezone.now() - timedelta(days=2)).int
    kept: dict[str, Any] = {"task": TASK, "arguments": "[[], {}]", "queue": "default", "state": "done"}
    Message.objects.bulk_create(Message(id=UUID(int=old + number), **kept) for number in range(3000))
    Message.objects.update(finished_at=Now() - timedelta(days=1))
    for make in (add, publish, start, die):
        make()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    views.LIVE.forget()
    with CaptureQueriesContext(connection) as captured:
        boss.get(UPDATES)
    statements = [query["sql"] for query in captured if "outbox_message" in query["sql"]]
    assert len(statements) > 5
    for statement in statements:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{statement}")
            plan = "\n".join(str(line) for line in cursor.fetchall())
        assert "Seq Scan on outbox_message" not in plan, statement
        assert "SCAN outbox_message'" not in plan, f"{statement}\n{plan}"


# --- the page at / ----------------------------------------------------------------------------------------------------


def test_the_start_page_leads_everywhere(client: Client) -> None:
    shown = client.get("/").content.decode()
    for address in (CONSOLE, "/admin/", "/orders/", "/products/", "/admin/login/?next=/console/"):
        assert f'href="{address}"' in shown, address


def test_pages_have_no_script_or_style_of_their_own(boss: Client) -> None:
    """So that a Content-Security-Policy can forbid it."""
    add()
    die()
    for shown in (page(boss), page(boss, "/")):
        assert "<style" not in shown
        assert " style=" not in shown
        assert " onclick=" not in shown
        assert shown.count("<script") == shown.count('<script src="/static/console/')


def test_a_database_that_is_far_ahead_of_us_shows_its_own_hour(boss: Client) -> None:
    ledger.complete(start())
    Message.objects.update(finished_at=F("finished_at") - timedelta(hours=2))
    assert "0 done and 0 dead in the last hour" in page(boss)
