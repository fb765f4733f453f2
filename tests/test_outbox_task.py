"""`OutboxTask`: what `.delay()` writes, and what the worker makes of it, run by Celery's own tracer."""

# celery-types knows plain Celery's tasks, and takes each look at a result for a look at something that cannot change.
# mypy: disable-error-code="arg-type, attr-defined, call-arg, call-overload, comparison-overlap, index, misc, operator"
# mypy: no-warn-unreachable

import smtplib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Task, shared_task, states
from celery.app.trace import reset_worker_optimizations, setup_worker_optimizations, trace_task
from celery.exceptions import Ignore, MaxRetriesExceededError, QueueNotFound, Reject, Retry
from celery.result import AsyncResult
from celery.utils.time import get_exponential_backoff_interval
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.utils import timezone
from kombu import Connection, Queue
from kombu.exceptions import EncodeError
from pytest_django import Settings
from rest_framework.decorators import api_view, permission_classes
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from app.celery import app
from brokers.wire import TaskMessage
from orders.models import Order
from outbox import ledger
from outbox.errors import OptionRefusedError
from outbox.models import Message
from outbox.results import TaskDiedError
from outbox.task import OutboxTask
from tests import worker
from tests.harness.smtp import MailServer
from tests.orders_shop import add_product, add_user, client_of, post_order
from tests.outbox_rows import WORKER, again, let_pass, row, seconds_from_now, take

pytestmark = pytest.mark.django_db

State = Message.State

#: What the tasks of this file saw when they ran.
seen: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    seen.clear()


# --- The tasks --------------------------------------------------------------------------------------------------------


@shared_task
def plain(a: Any, b: Any = None) -> None:
    seen.append((a, b))


@shared_task(bind=True)
def look_around(self: Task, *args: Any, **kwargs: Any) -> None:
    request = self.request
    seen.append((request.id, list(request.args), dict(request.kwargs), request.retries, request.headers))


@shared_task
def fail(message: str = "no") -> None:
    seen.append(message)
    raise ValueError(message)


@shared_task(retry_jitter=False)
def fail_on_schedule() -> None:
    raise ValueError("no")


@shared_task(max_retries=2)
def fail_three_times() -> None:
    seen.append("tried")
    raise ValueError("no")


@shared_task(autoretry_for=(ValueError,), retry_kwargs={"max_retries": 1})
def fail_twice() -> None:
    seen.append("tried")
    raise ValueError("no")


@shared_task(dont_autoretry_for=(KeyError,))
def fail_in_two_ways(how: str) -> None:
    raise KeyError(how) if how == "key" else ValueError(how)


@shared_task(bind=True, max_retries=None)
def call_retry(self: Task, **options: Any) -> None:
    seen.append(self.request.retries)
    raise self.retry(**options)


@shared_task(bind=True, max_retries=1)
def call_retry_in_vain(self: Task, max_retries: int | None = None, error: bool = True) -> None:
    seen.append(self.request.retries)
    raise self.retry(exc=ValueError("no") if error else None, countdown=30, max_retries=max_retries)


@shared_task(bind=True)
def return_a_retry(self: Task) -> Any:
    return self.retry(countdown=30, throw=False)


@shared_task(bind=True)
def retry_at(self: Task, eta: datetime) -> None:
    self.retry(eta=eta)


@shared_task
def raise_retry() -> None:
    raise Retry("later", when=45)


@shared_task
def reject() -> None:
    raise Reject("not for me")


@shared_task
def ignore() -> None:
    seen.append("ignored")
    raise Ignore


@shared_task
def exit_the_process() -> None:
    raise SystemExit(1)


class AwkwardError(Exception):
    """Cannot be unpickled: Celery would put another one in its place."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


@shared_task
def fail_awkwardly() -> None:
    raise AwkwardError(7, "awkward")


@shared_task(bind=True)
def factorial(self: Task, n: int) -> int:
    seen.append((self.request.id, self.request.args[0]))
    return n * self(n - 1) if n > 1 else 1


@shared_task(bind=True)
def fail_within_itself(self: Task, deep: bool = False) -> None:
    seen.append(deep)
    if deep:
        raise ValueError("deep")
    self(deep=True)


@shared_task
def send_mail(port: int, *recipients: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=5) as server:
        server.sendmail("orders@example.com", list(recipients), "Subject: hello\r\n\r\nHello.")


@shared_task(durable=False)
def straight(a: int) -> int:
    return a


class Patient(OutboxTask):
    abstract = True
    durable = False
    autoretry_for = (OSError,)
    max_retries = 7
    acks_late = False


@shared_task(base=Patient)
def straight_and_patient() -> None:
    """Opts out through its base."""


@shared_task(expires=60)
def soon_or_never() -> None:
    """Expires by declaration."""


@pytest.fixture
def as_in_a_worker() -> Iterator[None]:
    """What Celery does to every task class in its workers."""
    setup_worker_optimizations(app)
    yield
    reset_worker_optimizations(app)


# --- The worker -------------------------------------------------------------------------------------------------------


def request_of(message_id: Any, task: str) -> dict[str, Any]:
    """What a worker makes of the headers of a message."""
    headers = {**TaskMessage(uuid4(), task).headers, "id": message_id, "root_id": message_id}
    delivery = {"exchange": "", "routing_key": "default", "redelivered": False}
    return {**headers, "hostname": "worker@test", "delivery_info": delivery}


def deliver(result: AsyncResult) -> str:
    """Hand the message of a result to a worker; return how it ended, in Celery's words."""
    return worker.deliver(UUID(result.id))


def run(result: AsyncResult) -> str:
    """Let time pass until a message is due, let the relay take it, and deliver it."""
    let_pass(100_000)
    assert UUID(result.id) in take()
    return deliver(result)


def message_of(result: AsyncResult) -> Message:
    return row(UUID(result.id))


# --- .delay() ---------------------------------------------------------------------------------------------------------


def enqueue_and_crash() -> None:
    plain.delay("lost")
    1 / 0  # noqa: B018


class TestDelay:
    def test_a_task_called_by_its_name_is_enqueued_too(self) -> None:
        result = app.send_task(plain.name, ["a"], countdown=60)
        assert row(UUID(result.id)).state == "pending"

    def test_a_signature_is_enqueued_too(self) -> None:
        result = app.signature(plain.name, args=("a",)).apply_async()
        assert row(UUID(result.id)).task == plain.name

    def test_it_writes_a_row_with_the_id_of_its_result(self) -> None:
        result = plain.delay(1, b=2)
        message = message_of(result)
        assert (message.task, message.state, message.queue) == (plain.name, State.PENDING, "default")
        assert message.max_attempts == 61

    @pytest.mark.django_db(transaction=True)
    def test_in_autocommit_it_is_there_at_once(self) -> None:
        result = plain.delay(1)
        take()
        assert deliver(result) == states.SUCCESS
        assert seen == [(1, None)]

    @pytest.mark.django_db(transaction=True)
    def test_it_lives_and_dies_with_the_transaction(self) -> None:
        with transaction.atomic():
            kept = plain.delay(1)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            enqueue_and_crash()
        assert list(Message.objects.values_list("pk", flat=True)) == [UUID(kept.id)]

    @pytest.mark.django_db(transaction=True)
    def test_a_savepoint_that_is_rolled_back_takes_it_along(self) -> None:
        with transaction.atomic():
            kept = plain.delay(1)
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                enqueue_and_crash()
        assert [message.pk for message in Message.objects.all()] == [UUID(kept.id)]

    @pytest.mark.django_db(transaction=True)
    def test_on_commit_is_no_later_than_the_commit(self) -> None:
        """A hook that runs after the commit would be lost with the process."""
        with transaction.atomic():
            plain.delay_on_commit(1)
            plain.apply_async_on_commit((2,), countdown=5)
            assert Message.objects.count() == 2

    def test_a_call_is_a_call(self) -> None:
        plain(1)
        assert seen == [(1, None)]
        assert not Message.objects.exists()

    @pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"c": 3})])
    def test_wrong_arguments_are_a_type_error_where_it_is_called(self, args: Any, kwargs: Any) -> None:
        with pytest.raises(TypeError, match="plain"):
            plain.delay(*args, **kwargs)
        assert not Message.objects.exists()

    def test_arguments_that_json_cannot_carry_are_an_error_where_it_is_called(self) -> None:
        with pytest.raises(EncodeError, match=r"cannot keep the arguments of .*\.plain: .*object"):
            plain.delay(object())
        assert not Message.objects.exists()

    def test_countdown_eta_and_expires_are_kept(self) -> None:
        assert seconds_from_now(UUID(plain.apply_async((1,), countdown=60).id)) == pytest.approx(60, abs=5)
        eta = datetime(2031, 5, 6, tzinfo=UTC)
        message = message_of(plain.apply_async((1,), eta=eta, expires=eta + timedelta(hours=1)))
        assert (message.due_at, message.expires_at) == (eta, eta + timedelta(hours=1))

    def test_seconds_until_it_expires_are_counted_by_the_databases_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(timezone, "now", lambda: datetime(2001, 1, 1, tzinfo=UTC))
        result = plain.apply_async((1,), expires=60)
        assert seconds_from_now(UUID(result.id), "expires_at") == pytest.approx(60, abs=5)

    def test_times_may_be_naive_or_text(self) -> None:
        naive = datetime(2031, 5, 6, 7, 8)
        for eta in (naive, "2031-05-06T07:08:00", "2031-05-06T09:08:00+02:00"):
            assert message_of(plain.apply_async((1,), eta=eta)).due_at == naive.replace(tzinfo=UTC)

    def test_what_the_task_declares_holds_unless_the_call_says_otherwise(self) -> None:
        assert seconds_from_now(UUID(soon_or_never.delay().id), "expires_at") == pytest.approx(60, abs=5)
        expires = soon_or_never.apply_async(expires=500).id
        assert seconds_from_now(UUID(expires), "expires_at") == pytest.approx(500, abs=5)

    @pytest.mark.parametrize("priority", [0, 9])
    def test_a_priority_is_kept(self, priority: int) -> None:
        assert message_of(plain.apply_async((1,), priority=priority)).priority == priority

    @pytest.mark.parametrize("priority", [-1, 10])
    def test_a_priority_out_of_bounds_is_refused(self, priority: int) -> None:
        with pytest.raises(OptionRefusedError, match=f"priority={priority} is not between 0 and 9, where 9 goes first"):
            plain.apply_async((1,), priority=priority)

    def test_routes_of_the_settings_are_followed(self) -> None:
        before = app.conf.task_routes
        route_by({"*.plain": {"priority": 7}})
        try:
            message = message_of(plain.delay(1))
        finally:
            route_by(before)
        assert (message.queue, message.priority) == ("default", 7)

    @pytest.mark.parametrize("queue", ["nowhere", Queue("nowhere")], ids=str)
    def test_a_queue_that_does_not_exist_is_refused(self, queue: Any) -> None:
        with pytest.raises(OptionRefusedError, match=r"queue='nowhere' is not one of QUEUES \(default\)"):
            plain.apply_async((1,), queue=queue)

    def test_a_queue_may_be_named(self) -> None:
        assert message_of(plain.apply_async((1,), queue="default")).queue == "default"

    def test_a_task_id_is_the_messages_id(self) -> None:
        given = str(uuid4())
        assert plain.apply_async((1,), task_id=given).id == given
        assert plain.apply_async((1,), task_id=uuid4())

    def test_an_occurrence_is_enqueued_once_whoever_calls(self) -> None:
        first = plain.apply_async((1,), occurrence="report@2026-11-22")
        assert plain.apply_async((2,), occurrence="report@2026-11-22").id == first.id
        assert Message.objects.count() == 1

    def test_options_that_only_say_how_a_message_travels_are_taken(self) -> None:
        moot = {"retry": True, "retry_policy": {"max_retries": 1}, "compression": "gzip", "serializer": "json"}
        assert plain.apply_async((1,), ignore_result=True, add_to_parent=False, connection=None, **moot)

    def test_a_signature_is_a_call_like_any_other(self) -> None:
        result = plain.s(1, b=2).set(countdown=60).apply_async()
        assert seconds_from_now(UUID(result.id)) == pytest.approx(60, abs=5)
        assert run(result) == states.SUCCESS
        assert seen == [(1, 2)]


def route_by(routes: Any) -> None:
    app.conf.task_routes = routes
    app.amqp.flush_routes()
    app.amqp.router = app.amqp.Router()


# --- In a request -----------------------------------------------------------------------------------------------------


def crash(request: HttpRequest) -> HttpResponse:
    plain.delay(1)
    raise RuntimeError("after the row was written")


@api_view(["POST"])
@permission_classes([AllowAny])
def refuse(request: Request) -> Response:
    plain.delay(1)
    raise ValidationError("after the row was written")


def accept(request: HttpRequest) -> HttpResponse:
    plain.delay(1)
    return HttpResponse(status=201)


urlpatterns = [path("crash", crash), path("refuse", refuse), path("accept", accept)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:No directory at")
class TestRequests:
    @pytest.fixture(autouse=True)
    def views(self, settings: Settings) -> None:
        settings.ROOT_URLCONF = __name__

    @pytest.mark.parametrize(("address", "status"), [("/crash", 500), ("/refuse", 400)])
    def test_a_post_that_fails_leaves_no_row(self, address: str, status: int) -> None:
        assert Client(raise_request_exception=False).post(address).status_code == status
        assert not Message.objects.exists()

    def test_a_post_that_succeeds_leaves_one(self) -> None:
        assert Client().post("/accept").status_code == 201
        assert Message.objects.count() == 1

    def test_an_order_and_its_confirmation_are_one(self, settings: Settings) -> None:
        settings.ROOT_URLCONF = "app.urls"
        add_product("MUG", stock=1)
        customer = client_of(add_user())
        assert post_order(customer, {"MUG": 1}).status_code == 201
        assert post_order(customer, {"MUG": 1}).status_code >= 400
        [message] = Message.objects.all()
        assert message.task == "orders.tasks.send_order_confirmation_email"
        assert Order.objects.get().order_id.hex in message.arguments


# --- In the worker ----------------------------------------------------------------------------------------------------


class TestRun:
    def test_it_runs_with_what_the_row_says(self) -> None:
        arguments = (UUID(int=7), Decimal("0.10"), datetime(2026, 11, 22, tzinfo=UTC))
        result = look_around.apply_async(arguments, {"key": "ü"}, headers={"traceparent": "00-1-2-03"})
        take()
        assert deliver(result) == states.SUCCESS
        assert seen == [(result.id, list(arguments), {"key": "ü"}, 0, {"traceparent": "00-1-2-03"})]
        assert message_of(result).state == State.DONE

    def test_a_duplicate_is_ignored(self) -> None:
        result = plain.delay(1)
        take()
        assert [deliver(result), deliver(result)] == [states.SUCCESS, states.IGNORED]
        assert len(seen) == 1

    def test_a_stale_copy_of_a_message_that_waits_is_ignored(self) -> None:
        result = plain.apply_async((1,), countdown=60)
        assert deliver(result) == states.IGNORED
        assert message_of(result).state == State.PENDING

    def test_arguments_that_it_cannot_decode_are_left_to_another_worker(self) -> None:
        result = plain.delay({"__type__": "mystery", "__value__": 1})
        take()
        assert deliver(result) == states.REJECTED
        message = message_of(result)
        assert (message.state, message.attempts) == (State.PENDING, 0)
        assert message.last_error.startswith(f"Refused by {WORKER}: cannot decode the arguments: ")
        assert "Unsupported type" in message.last_error

    def test_ending_the_process_settles_nothing_so_that_the_lease_decides(self) -> None:
        result = exit_the_process.delay()
        take()
        with pytest.raises(SystemExit):
            deliver(result)
        assert message_of(result).state == State.RUNNING
        assert run_until(result, 2) == 2

    @pytest.mark.usefixtures("as_in_a_worker")
    def test_a_task_may_call_itself(self) -> None:
        result = factorial.delay(3)
        take()
        assert deliver(result) == states.SUCCESS
        assert seen == [(result.id, 3), (result.id, 2), (result.id, 1)]
        assert (message_of(result).state, message_of(result).attempts) == (State.DONE, 1)

    @pytest.mark.usefixtures("as_in_a_worker")
    def test_an_error_of_a_call_to_itself_is_the_tasks_error(self) -> None:
        result = fail_within_itself.delay()
        take()
        assert deliver(result) == states.RETRY
        assert seen == [False, True]
        assert (message_of(result).state, message_of(result).attempts) == (State.PENDING, 1)
        assert message_of(result).last_error.endswith("ValueError: deep\n")

    def test_a_task_may_enqueue_and_call_others(self) -> None:
        result = enqueue_and_call.delay()
        take()
        assert deliver(result) == states.SUCCESS
        assert seen == [("called", None)]
        assert Message.objects.filter(task=plain.name, state=State.PENDING).count() == 1

    def test_eagerly_it_runs_as_in_a_worker(self) -> None:
        before, app.conf.task_always_eager = app.conf.task_always_eager, True
        try:
            result = look_around.delay(1)
        finally:
            app.conf.task_always_eager = before
        [(task_id, args, _, retries, _)] = seen
        assert (task_id, args, retries) == (result.id, [1], 0)
        assert not Message.objects.exists()


@shared_task
def enqueue_and_call() -> None:
    plain.delay("enqueued")
    plain("called")


def run_until(result: AsyncResult, attempts: int) -> int:
    """Let the lease end and begin another attempt; return which one it is."""
    let_pass(100_000)
    assert UUID(result.id) in take()
    return again(UUID(result.id)).attempt


# --- Retries ----------------------------------------------------------------------------------------------------------


class TestRetries:
    def test_a_bare_task_retries_whatever_it_raises(self) -> None:
        result = fail.delay("ouch")
        take()
        assert deliver(result) == states.RETRY
        message = message_of(result)
        assert message.state == State.PENDING
        assert message.last_error.endswith("ValueError: ouch\n")
        assert "Traceback" in message.last_error
        assert -5 < seconds_from_now(message.pk) <= 10

    def test_the_pauses_double_up_to_half_an_hour(self) -> None:
        result = fail_on_schedule.delay()
        pauses = []
        for _ in range(10):
            assert run(result) == states.RETRY
            pauses.append(round(seconds_from_now(UUID(result.id))))
        assert pauses == pytest.approx([10, 20, 40, 80, 160, 320, 640, 1280, 1800, 1800], abs=3)

    def test_a_bare_task_outlasts_a_night(self) -> None:
        bounds = [
            get_exponential_backoff_interval(OutboxTask.retry_backoff, retries, OutboxTask.retry_backoff_max)
            for retries in range(OutboxTask.max_retries)
        ]
        assert sum(bounds) / 2 > 12 * 3600

    def test_it_is_dead_when_the_attempts_are_spent(self) -> None:
        result = fail_three_times.delay()
        assert [run(result) for _ in range(3)] == [states.RETRY, states.RETRY, states.FAILURE]
        message = message_of(result)
        assert (message.state, message.attempts) == (State.DEAD, 3)
        assert message.last_error.endswith("ValueError: no\n")

    def test_a_replay_gives_it_the_same_attempts_again(self) -> None:
        result = fail_three_times.delay()
        for _ in range(2):
            assert [run(result) for _ in range(3)] == [states.RETRY, states.RETRY, states.FAILURE]
            ledger.replay([UUID(result.id)], by="ada")
        assert len(seen) == 6

    def test_retry_kwargs_bound_the_attempts_as_in_celery(self) -> None:
        result = fail_twice.delay()
        assert message_of(result).max_attempts == 2
        assert [run(result) for _ in range(2)] == [states.RETRY, states.FAILURE]
        assert message_of(result).state == State.DEAD

    def test_what_a_task_does_not_retry_for_is_dead_at_once(self) -> None:
        dead, retried = fail_in_two_ways.delay("key"), fail_in_two_ways.delay("value")
        take()
        assert [deliver(dead), deliver(retried)] == [states.FAILURE, states.RETRY]
        assert message_of(dead).last_error.endswith("KeyError: 'key'\n")
        assert [message_of(dead).state, message_of(retried).state] == [State.DEAD, State.PENDING]

    def test_the_attempts_that_were_killed_count_too(self) -> None:
        result = fail_three_times.delay()
        run_until(result, 1)
        run_until(result, 2)
        assert run(result) == states.FAILURE
        assert message_of(result).attempts == 3

    def test_the_task_is_told_how_often_it_was_tried(self) -> None:
        result = call_retry.delay(countdown=0)
        for _ in range(4):
            run(result)
        assert seen == [0, 1, 2, 3]

    def test_retry_names_the_pause(self) -> None:
        result = call_retry.delay(countdown=75)
        take()
        assert deliver(result) == states.RETRY
        assert seconds_from_now(UUID(result.id)) == pytest.approx(75, abs=5)
        assert message_of(result).last_error == "The task asked to be run again."

    def test_retry_without_a_pause_takes_celerys_own(self) -> None:
        result = call_retry.delay()
        take()
        deliver(result)
        assert seconds_from_now(UUID(result.id)) == pytest.approx(call_retry.default_retry_delay, abs=5)

    @pytest.mark.parametrize("eta", [datetime(2031, 5, 6, tzinfo=UTC), datetime(2031, 5, 6)])
    def test_retry_names_the_moment(self, eta: datetime) -> None:
        result = retry_at.delay(eta)
        take()
        assert deliver(result) == states.RETRY
        assert message_of(result).due_at == eta.replace(tzinfo=UTC)

    def test_retry_that_is_returned_is_a_retry(self) -> None:
        result = return_a_retry.delay()
        take()
        assert deliver(result) == states.RETRY
        assert message_of(result).state == State.PENDING

    def test_celerys_exception_is_a_retry(self) -> None:
        result = raise_retry.delay()
        take()
        assert deliver(result) == states.RETRY
        assert seconds_from_now(UUID(result.id)) == pytest.approx(45, abs=5)

    @pytest.mark.parametrize(("max_retries", "attempts"), [(None, 2), (0, 1), (3, 4)])
    def test_retry_may_allow_fewer_or_more_attempts_than_the_task(self, max_retries: int | None, attempts: int) -> None:
        result = call_retry_in_vain.delay(max_retries)
        outcomes = [run(result) for _ in range(attempts)]
        assert outcomes == [states.RETRY] * (attempts - 1) + [states.FAILURE]
        assert message_of(result).state == State.DEAD
        assert message_of(result).last_error.endswith("ValueError: no\n")
        assert seen == list(range(attempts))

    def test_a_retry_too_many_without_an_error_says_so(self) -> None:
        result = call_retry_in_vain.delay(error=False)
        assert [run(result) for _ in range(2)] == [states.RETRY, states.FAILURE]
        assert MaxRetriesExceededError.__name__ in message_of(result).last_error
        assert "is out of attempts (2)" in message_of(result).last_error

    def test_an_error_that_cannot_be_pickled_is_kept_with_its_traceback(self) -> None:
        result = fail_awkwardly.delay()
        take()
        assert deliver(result) == states.RETRY
        assert message_of(result).last_error.endswith("AwkwardError: 7: awkward\n")
        assert "in fail_awkwardly" in message_of(result).last_error

    def test_a_rejected_message_is_dead_with_the_reason(self) -> None:
        result = reject.delay()
        take()
        assert deliver(result) == states.FAILURE
        message = message_of(result)
        assert (message.state, message.last_error) == (State.DEAD, "rejected: not for me")

    def test_an_ignored_message_is_done(self) -> None:
        result = ignore.delay()
        take()
        assert deliver(result) == states.SUCCESS
        assert seen == ["ignored"]
        assert message_of(result).state == State.DONE


REFUSALS = [
    (lambda server: server.refuse("554 not wanted"), State.DEAD),
    (lambda server: server.refuse("451 try again later"), State.PENDING),
    (lambda server: server.refuse_recipients("550 no such mailbox"), State.DEAD),
    (lambda server: server.refuse_recipients("450 mailbox busy"), State.PENDING),
    (lambda server: server.stop(), State.PENDING),
]


@pytest.mark.parametrize(("misbehave", "ends"), REFUSALS, ids=["554", "451", "550", "450", "away"])
def test_a_mail_servers_no_is_final_and_its_later_is_not(
    mail_server: MailServer, misbehave: Callable[[MailServer], None], ends: str
) -> None:
    misbehave(mail_server)
    result = send_mail.delay(mail_server.port, "ada@example.com")
    take()
    deliver(result)
    message = message_of(result)
    assert (message.state, message.attempts) == (ends, 1)
    assert "Traceback" in message.last_error


# --- Opting out -------------------------------------------------------------------------------------------------------


class TestOptingOut:
    def test_it_goes_straight_to_the_broker(self) -> None:
        broker_settings = settings.BROKER_PROFILE.celery_settings(["default"])
        with Connection(broker_settings["broker_url"]) as connection:
            queue = connection.SimpleQueue(settings.BROKER_PROFILE.queue("default"))
            queue.clear()
            result = straight.apply_async((7,), countdown=0)
            message = queue.get(timeout=5)
            message.ack()
        assert message.headers["task"] == straight.name
        assert message.headers["id"] == result.id
        assert message.payload[0] == [7]
        assert not Message.objects.exists()

    def test_it_runs_without_a_row(self) -> None:
        _, info, _, _ = trace_task(straight, "any id", [7], {}, request_of("any id", straight.name), app=app)
        assert info is None

    def test_it_acknowledges_late_and_retries_as_celery_does(self) -> None:
        assert (straight.acks_late, straight.reject_on_worker_lost, straight.retry_on_worker_lost) == (True, True, True)
        assert (straight.autoretry_for, straight.max_retries) == ((), Task.max_retries)
        assert (straight.retry_backoff, straight.retry_backoff_max) == (False, 600)

    def test_what_its_base_chose_is_inherited(self) -> None:
        assert straight_and_patient.autoretry_for == (OSError,)
        assert (straight_and_patient.max_retries, straight_and_patient.acks_late) == (7, False)
        assert straight_and_patient.reject_on_worker_lost is True

    def test_a_durable_task_acknowledges_early(self) -> None:
        assert not plain.acks_late

    def test_it_may_use_celerys_canvas(self) -> None:
        assert straight.s(1).clone(link=straight.s(2))
        with pytest.raises(QueueNotFound):
            straight.apply_async((1,), queue="nowhere", link=straight.s())


# --- AsyncResult ------------------------------------------------------------------------------------------------------


class TestAsyncResult:
    def test_its_state_is_the_ledgers(self) -> None:
        result = plain.delay(1)
        assert (result.state, result.ready()) == (states.PENDING, False)
        take()
        assert result.state == states.PENDING
        claimed = again(UUID(result.id))
        assert result.state == states.STARTED
        ledger.retry(claimed, error="once")
        assert (result.state, result.retries) == (states.RETRY, 0)
        run(result)
        assert (result.state, result.successful(), result.result) == (states.SUCCESS, True, None)
        assert result.date_done is not None
        assert result.retries == 1

    def test_a_dead_message_is_a_failure_with_its_traceback(self) -> None:
        result = fail_three_times.delay()
        for _ in range(3):
            run(result)
        assert (result.state, result.failed()) == (states.FAILURE, True)
        assert "Traceback" in result.traceback
        assert isinstance(result.result, TaskDiedError)
        with pytest.raises(TaskDiedError, match=r"^ValueError: no$"):
            result.get(timeout=5)

    def test_a_discarded_message_is_revoked(self) -> None:
        result = plain.delay(1)
        ledger.discard([UUID(result.id)], by="ada")
        assert (result.state, result.ready()) == (states.REVOKED, True)

    @pytest.mark.parametrize("task_id", [str(UUID(int=1)), "garbage"])
    def test_an_id_that_nobody_knows_is_pending_as_in_celery(self, task_id: str) -> None:
        assert AsyncResult(task_id, app=app).state == states.PENDING

    def test_running_a_task_leaves_the_ledgers_answer_alone(self) -> None:
        result = look_around.delay()
        take()
        deliver(result)
        assert AsyncResult(result.id, app=app).state == states.SUCCESS
