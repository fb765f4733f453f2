"""How an order shows what becomes of its confirmation: pending, sending, sent, failed or withdrawn."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import states
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from celery.signals import task_failure
from django.contrib.auth.models import User
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from app.celery import app
from orders import confirmations
from orders.models import Order
from orders.tasks import send_order_confirmation_email
from outbox import ledger, success
from outbox.models import Message
from tests.harness.smtp import MailServer
from tests.orders_shop import add_product, add_user, client_of, post_order
from tests.outbox_rows import again, claim, let_pass, take
from tests.worker import deliver, run, run_due_tasks, run_retries

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    add_product(stock=100)
    return add_user()


@pytest.fixture
def staff() -> User:
    return add_user("boss", email="boss@example.com", is_staff=True)


@pytest.fixture
def smtp(settings: Settings, mail_server: MailServer) -> MailServer:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", mail_server.port
    return mail_server


def posted(user: User) -> Order:
    return Order.objects.get(order_id=post_order(client_of(user), {"MUG": 1}).json()["order_id"])


def shown(order: Order) -> dict[str, Any]:
    """The confirmation as the order itself shows it."""
    return dict(client_of(order.user).get(f"/orders/{order.order_id}/").json()["confirmation"])


def listed(order: Order) -> dict[str, Any]:
    """The confirmation as the list shows it."""
    results = client_of(order.user).get("/orders/").json()["results"]
    (found,) = [each["confirmation"] for each in results if each["order_id"] == str(order.order_id)]
    return dict(found)


def timeline(order: Order, user: User | None = None) -> list[tuple[str, str, str | None]]:
    entries = client_of(user or order.user).get(f"/orders/{order.order_id}/events/").json()["results"]
    return [(each["kind"], each["by"], each["username"]) for each in entries]


def kinds(order: Order) -> list[str]:
    return [kind for kind, _, _ in timeline(order)]


def test_it_is_pending_until_a_worker_begins_and_sent_once_it_is(ada: User) -> None:
    order = posted(ada)
    assert shown(order) == listed(order) == {"state": "pending", "attempts": 0, "sent_at": None}
    assert run_due_tasks() == [states.SUCCESS]
    assert shown(order) == listed(order)
    assert (shown(order)["state"], shown(order)["attempts"]) == ("sent", 1)
    assert shown(order)["sent_at"]
    assert len(mail.outbox) == 1


def test_sending_it_confirms_the_order(ada: User) -> None:
    order = posted(ada)
    run_due_tasks()
    order.refresh_from_db()
    assert order.status == "confirmed"


def test_the_timeline_tells_what_happened_and_who_did_it(ada: User, staff: User) -> None:
    order = posted(ada)
    run_due_tasks()
    client_of(staff).post(f"/orders/{order.order_id}/cancel/", {"reason": "Sold out."}, format="json")
    story = [
        ("placed", "customer", "ada"),
        ("confirmation_queued", "customer", "ada"),
        ("confirmation_attempted", "service", None),
        ("confirmation_sent", "service", None),
    ]
    assert timeline(order) == [*story, ("cancelled", "staff", None)]
    assert timeline(order, staff) == [*story, ("cancelled", "staff", "boss")]
    last = client_of(ada).get(f"/orders/{order.order_id}/events/").json()["results"][-1]
    assert last["detail"] == "Sold out."


def test_while_it_is_being_sent_or_waits_for_another_attempt_it_is_sending(ada: User, smtp: MailServer) -> None:
    order = posted(ada)
    smtp.refuse("451 try again later")
    assert run_due_tasks() == [states.RETRY]
    assert shown(order) == listed(order) == {"state": "sending", "attempts": 1, "sent_at": None}
    assert run_retries() == [states.RETRY]
    smtp.accept()
    assert run_retries() == [states.SUCCESS]
    assert (shown(order)["state"], shown(order)["attempts"]) == ("sent", 3)
    assert kinds(order) == [
        "placed", "confirmation_queued", *["confirmation_attempted"] * 3, "confirmation_sent",
    ]  # fmt: skip


def test_a_confirmation_that_cannot_be_delivered_has_failed_and_can_be_replayed(ada: User, smtp: MailServer) -> None:
    order = posted(ada)
    smtp.refuse("554 not wanted")
    assert run_due_tasks() == [states.FAILURE]
    assert shown(order) == listed(order) == {"state": "failed", "attempts": 1, "sent_at": None}
    assert kinds(order)[-1] == "confirmation_failed"
    order.refresh_from_db()
    assert order.status == "placed"

    smtp.accept()
    assert order.confirmation_task_id
    ledger.replay([order.confirmation_task_id], by="boss")
    assert shown(order)["state"] == "sending"  # Celery's word for what is to be tried again
    assert run_due_tasks() == [states.SUCCESS]
    assert shown(order)["state"] == listed(order)["state"] == "sent"


def test_of_a_task_whose_process_is_killed_in_its_last_attempt_celery_knows(ada: User) -> None:
    order = posted(ada)
    Message.objects.update(max_attempts=1)
    (message_id,) = take()
    claim(message_id)
    assert shown(order)["state"] == "sending"
    let_pass(100)
    assert take() == []  # dead
    assert shown(order)["state"] == "failed"


@pytest.mark.parametrize("error", [WorkerLostError("signal 9"), TimeLimitExceeded(60)], ids=["killed", "out of time"])
def test_an_attempt_whose_process_is_killed_is_not_the_end(ada: User, error: Exception) -> None:
    """Celery's main process, which does not know that the lease will end, sends the signal."""
    order = posted(ada)
    (message_id,) = take()
    claim(message_id)
    task = app.tasks[send_order_confirmation_email.name]
    task_failure.send(sender=task, task_id=str(message_id), exception=error)
    assert listed(order)["state"] == "pending"
    task_failure.send(sender=task, task_id=str(message_id), exception=ValueError("no"))
    assert listed(order)["state"] == "failed"


def test_of_a_confirmation_that_somebody_discarded_celery_knows(ada: User) -> None:
    order = posted(ada)
    assert order.confirmation_task_id
    ledger.discard([order.confirmation_task_id], by="boss")
    assert shown(order)["state"] == "failed"


def test_it_stays_sent_when_the_ledger_has_forgotten_the_task(ada: User) -> None:
    order = posted(ada)
    run_due_tasks()
    let_pass(8 * 86_400)
    assert ledger.prune(keep_days=7, limit=10) == 1
    assert shown(order)["state"] == "sent"


def test_a_task_that_lost_its_lease_after_it_had_sent_is_not_followed_by_one_that_sends_again(ada: User) -> None:
    """What it records is the truth, although its message is not settled by it."""
    order = posted(ada)
    (message_id,) = take()
    lost = again(message_id)
    Message.objects.update(lease=uuid4())
    assert run(lost).settled is False
    mail.outbox.clear()
    let_pass(100)
    assert take() == [message_id]
    assert deliver(message_id) == states.SUCCESS
    assert not mail.outbox
    assert kinds(order).count("confirmation_attempted") == 1


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_the_mail_server_is_being_talked_to(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    send = EmailMultiAlternatives.send

    def look_and_send(message: EmailMultiAlternatives) -> int:
        seen.append(connection.in_atomic_block)
        return send(message)

    monkeypatch.setattr(EmailMultiAlternatives, "send", look_and_send)
    posted(ada)
    run_due_tasks()
    assert seen == [False]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_waited_for_rather_than_the_e_mail_sent_again(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = posted(ada)
    record = confirmations.record_sent
    away = iter([True, True, False])

    def record_unless_away(*args: Any, **options: Any) -> None:
        record(*args, **options)
        if next(away):
            raise OperationalError("server closed the connection")

    monkeypatch.setattr(confirmations, "record_sent", record_unless_away)
    monkeypatch.setattr(success, "PAUSE_SECONDS", 0.01)
    assert run_due_tasks() == [states.SUCCESS]
    assert len(mail.outbox) == 1
    assert listed(order)["state"] == "sent"
    assert kinds(order).count("confirmation_sent") == 1


def test_a_cancelled_order_is_not_confirmed_any_more(ada: User) -> None:
    order = posted(ada)
    client_of(ada).post(f"/orders/{order.order_id}/cancel/")
    run_due_tasks()
    assert [message.subject.partition(":")[0] for message in mail.outbox] == [f"Your order {order.number} is cancelled"]
    assert shown(order) == listed(order) == {"state": "withdrawn", "attempts": 0, "sent_at": None}


def test_an_order_cancelled_while_its_confirmation_is_being_sent_stays_cancelled(ada: User) -> None:
    order = posted(ada)
    order.cancel(by=ada)
    confirmations.record_sent(order.pk, str(order.confirmation_task_id), began_at=timezone.now())
    order.refresh_from_db()
    assert (order.status, order.confirmation_state) == ("cancelled", "sent")


def resend(staff: User, order: Order) -> Any:
    return client_of(staff).post(f"/orders/{order.order_id}/resend-confirmation/")


def test_staff_send_it_again_to_the_address_that_the_customer_has_now(ada: User, staff: User) -> None:
    order = posted(ada)
    run_due_tasks()
    User.objects.filter(pk=ada.pk).update(email="new@example.com")
    answer = resend(staff, order)
    assert answer.status_code == 202
    assert answer.json()["confirmation"] == {"state": "pending", "attempts": 0, "sent_at": None}
    run_due_tasks()
    assert [message.to for message in mail.outbox] == [["ada@example.com"], ["new@example.com"]]
    assert shown(order)["attempts"] == 1
    assert timeline(order)[-3:] == [
        ("confirmation_queued", "staff", None),
        ("confirmation_attempted", "service", None),
        ("confirmation_sent", "service", None),
    ]


def test_a_confirmation_that_is_sent_anew_while_the_first_is_still_on_its_way_is_sent_once(
    ada: User, staff: User
) -> None:
    order = posted(ada)
    assert resend(staff, order).status_code == 202
    assert run_due_tasks() == [states.SUCCESS, states.SUCCESS]
    assert len(mail.outbox) == 1
    assert shown(order)["state"] == "sent"


def test_a_cancelled_order_has_no_confirmation_to_send_again(ada: User, staff: User) -> None:
    order = posted(ada)
    order.cancel(by=ada)
    assert resend(staff, order).status_code == 409


@pytest.mark.parametrize(
    "break_it",
    [
        lambda: Message.objects.update(arguments=Message.objects.get().arguments.replace("ada@", "ada\\n@")),
        lambda: Order.objects.update(order_id=UUID(int=1)),
    ],
    ids=["an address that is none", "an order that is not there"],
)
def test_what_trying_again_cannot_help_dies_at_once(ada: User, break_it: Callable[[], Any]) -> None:
    posted(ada)
    break_it()
    assert run_due_tasks() == [states.FAILURE]
    message = Message.objects.get()
    assert (message.state, message.attempts) == ("dead", 1)
    assert Order.objects.get().confirmation_state == "failed"
    assert not mail.outbox


def test_a_list_asks_nobody_about_the_confirmations_in_it(ada: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client_of(ada).get("/orders/").status_code == 200
        return len(captured)

    posted(ada)
    before = queries()
    for _ in range(5):
        posted(ada)
    assert queries() == before


def test_orders_are_found_by_the_state_of_their_confirmation(ada: User) -> None:
    sent, pending = posted(ada), None
    run_due_tasks()
    pending = posted(ada)
    for state, order in (("sent", sent), ("pending", pending)):
        (found,) = client_of(ada).get("/orders/", {"confirmation": state}).json()["results"]
        assert found["order_id"] == str(order.order_id)
