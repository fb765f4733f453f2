"""What a call may say: what of it a row keeps, what the worker's task sees of it, and what is refused at the call."""

# celery-types describes the documented part of a task only.
# mypy: disable-error-code="arg-type, attr-defined, call-arg, call-overload, comparison-overlap, misc, operator"

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pydantic
import pytest
from celery import Task, chain, chord, group, shared_task, signature, states
from celery.contrib.abortable import AbortableTask
from celery.exceptions import Reject
from celery.result import AsyncResult

from app.celery import app
from outbox import ledger
from outbox.errors import OptionRefusedError
from outbox.models import Message
from tests.outbox_rows import WORKER, let_pass, seconds_from_now, take
from tests.worker import deliver, run_due_tasks
from tests.worker import run as run_in_this_process

pytestmark = pytest.mark.django_db

State = Message.State

ID = "0197d2c5-9c5e-7a86-a0f5-1c2d3e4f5a6b"

#: What the tasks of this file saw when they ran.
seen: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    seen.clear()


@shared_task
def plain(a: Any = None, b: Any = None) -> None:
    seen.append((a, b))


@shared_task(bind=True)
def look_around(self: Task) -> None:
    seen.append(self.request)


@shared_task(bind=True)
def call_another(self: Task, **options: Any) -> None:
    seen.append(self.request)
    look_around.apply_async(**options)
    seen.append(list(self.request.children))


@shared_task(bind=True, max_retries=5)
def retry_with(self: Task, a: Any = None, b: Any = None, options: Any = None) -> None:
    seen.append((a, b, self.request))
    if options and self.request.retries == 0:
        raise self.retry(exc=ValueError("no"), countdown=0, **options)


@shared_task(bind=True)
def go_on_after_retry(self: Task) -> str:
    self.retry(countdown=30, throw=False)
    return "all the same"


@shared_task
def reject_and_requeue() -> None:
    raise Reject("not now", requeue=True)


@shared_task(bind=True)
def replace_itself(self: Task) -> None:
    self.replace(plain.s(1))


class Address(pydantic.BaseModel):
    street: str


@shared_task(pydantic=True)
def deliver_to(address: Address) -> None:
    seen.append(address)
    if address.street == "nowhere":
        Address.model_validate({})


@shared_task(durable=False)
def straight(a: Any = None) -> None:
    """Opts out."""


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was published straight to a broker."""
    names: list[Any] = []
    monkeypatch.setattr(app.amqp, "send_task_message", lambda producer, name, *args, **options: names.append(name))
    return names


def message_of(result: AsyncResult[Any]) -> Message:
    return Message.objects.get(pk=UUID(result.id))


def run(result: AsyncResult[Any]) -> str:
    let_pass(100_000)
    take()
    return deliver(UUID(result.id))


def request_of(result: AsyncResult[Any]) -> Any:
    assert run(result) == states.SUCCESS
    return seen[-1]


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", ["order-17", "1234", "é" * 9, ID.upper(), UUID(ID).hex, ID])
def test_a_task_id_is_what_the_caller_says(task_id: str) -> None:
    result = look_around.apply_async(task_id=task_id)
    assert (result.id, AsyncResult(task_id, app=app).state) == (task_id, states.PENDING)
    assert run_due_tasks() == [states.SUCCESS]
    assert (seen[0].id, seen[0].root_id) == (task_id, task_id)
    assert AsyncResult(task_id, app=app).state == states.SUCCESS


@pytest.mark.parametrize("task_id", ["order-17", ID])
def test_a_task_id_is_used_once_and_leaves_the_transaction_alone(task_id: str) -> None:
    first, second = (plain.apply_async((number,), task_id=task_id) for number in range(2))
    assert first.id == second.id == task_id
    assert run_due_tasks() == [states.SUCCESS]
    assert seen == [(0, None)]


def test_what_waits_can_be_revoked_by_any_id() -> None:
    result = plain.apply_async(task_id="order-17")
    result.revoke()
    assert (result.state, run_due_tasks()) == (states.REVOKED, [])


# --- what the task sees of the call -----------------------------------------------------------------------------------


def test_limits_shadow_and_stamps_travel_in_the_row() -> None:
    result = look_around.apply_async(
        time_limit=7, soft_time_limit=3, shadow="seen as", reply_to="somebody", stamped_headers=["tenant"], tenant="a"
    )
    request = request_of(result)
    assert (request.time_limit, request.soft_time_limit, request.timelimit) == (7, 3, [7, 3])
    assert (request.shadow, request.reply_to) == ("seen as", "somebody")
    assert (request.stamped_headers, request.stamps) == (["tenant"], {"tenant": "a"})


def test_a_call_that_says_nothing_keeps_nothing() -> None:
    result = look_around.delay()
    assert message_of(result).options == ""
    request = request_of(result)
    assert (request.expires, request.eta, request.parent_id, request.stamps) == (None, None, None, None)
    assert request.root_id == result.id


def test_a_moment_is_told_as_celery_tells_it() -> None:
    request = request_of(look_around.apply_async(countdown=60, expires=300_000))
    assert request.eta.endswith("+00:00")
    assert request.expires > request.eta


@pytest.mark.parametrize("options", [{}, {"add_to_parent": False}, {"root_id": "a", "parent_id": "b"}], ids=str)
def test_a_task_that_a_task_calls_is_its_child(options: dict[str, Any]) -> None:
    parent = call_another.apply_async(kwargs=options)
    run(parent)
    children = seen.pop()
    [child] = Message.objects.exclude(pk=UUID(parent.id))
    assert [each.id for each in children] == ([] if options.get("add_to_parent") is False else [str(child.pk)])
    run_due_tasks()
    expected = (options.get("root_id", parent.id), options.get("parent_id", parent.id))
    assert (seen[-1].root_id, seen[-1].parent_id) == expected


def test_a_frozen_signature_is_a_call_like_any_other() -> None:
    frozen = plain.s(1)
    result = frozen.freeze()
    assert frozen.apply_async().id == result.id
    assert run_due_tasks() == [states.SUCCESS]


def test_a_soft_limit_above_the_hard_one_is_refused() -> None:
    with pytest.raises(ValueError, match="must be less than or equal"):
        plain.apply_async(time_limit=1, soft_time_limit=2)


# --- retry ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "change", "expected"),
    [
        (((1,), {}), {"args": (5,)}, (5, None)),
        (((1, 2), {}), {"kwargs": {"b": 5}}, (1, 5)),
        (((), {"a": 1, "b": 2}), {"args": (5,)}, (5, 2)),
        (((), {"a": 1}), {"kwargs": {"a": 5, "b": 6}}, (5, 6)),
    ],
    ids=str,
)
def test_retry_may_change_the_arguments_as_celery_has_it(given: Any, change: Any, expected: Any) -> None:
    args, kwargs = given
    result = retry_with.apply_async(args, {**kwargs, "options": change})
    assert run(result) == states.RETRY
    # Celery keeps what retry() does not mention, `options` among it where that was given by name.
    message = message_of(result)
    assert (message.state, message.attempts) == (State.PENDING, 1)
    run(result)
    assert seen[-1][:2] == expected
    assert "override_max_retries" not in vars(app.tasks[retry_with.name])


def test_retry_may_change_options() -> None:
    change = {"priority": 7, "time_limit": 9, "headers": {"x": "y"}, "expires": 600_000, "shadow": "another"}
    result = retry_with.apply_async(kwargs={"options": change}, soft_time_limit=2)
    assert run(result) == states.RETRY
    message = message_of(result)
    assert (message.priority, message.queue) == (7, "default")
    assert seconds_from_now(UUID(result.id)) < 60
    run(result)
    request = seen[-1][2]
    assert (request.time_limit, request.soft_time_limit, request.shadow) == (9, 2, "another")
    assert request.headers == {"x": "y"}
    assert request.expires


@pytest.mark.parametrize("change", [{"queue": "nowhere"}, {"priority": 17}, {"link": "x"}, {"exchange": "x"}], ids=str)
def test_a_retry_that_cannot_be_is_final(change: dict[str, Any]) -> None:
    result = retry_with.apply_async(kwargs={"options": change})
    assert run(result) == states.FAILURE
    message = message_of(result)
    assert (message.state, message.attempts) == (State.DEAD, 1)
    assert "OptionRefusedError" in message.last_error


def test_a_task_that_goes_on_after_retry_is_run_again() -> None:
    result = go_on_after_retry.delay()
    assert run(result) == states.RETRY
    assert message_of(result).state == State.PENDING


def test_a_task_that_rejects_and_requeues_is_run_again() -> None:
    result = reject_and_requeue.delay()
    assert run(result) == states.RETRY
    assert message_of(result).state == State.PENDING
    assert message_of(result).last_error == "rejected: not now"


@pytest.mark.parametrize(("address", "attempts"), [({}, 1), ({"street": "nowhere"}, 1), ({"street": "here"}, 1)])
def test_arguments_that_pydantic_refuses_are_final(address: dict[str, str], attempts: int) -> None:
    result = deliver_to.delay(address)
    ended = run(result)
    message = message_of(result)
    expected = {
        "": (states.FAILURE, State.DEAD),
        "nowhere": (states.RETRY, State.PENDING),
        "here": (states.SUCCESS, State.DONE),
    }
    assert (ended, message.state) == expected[address.get("street", "")]
    assert len(seen) == bool(address)


# --- what is refused, and when ----------------------------------------------------------------------------------------

CURES = {
    "link": "inside of the task",
    "link_error": "inside of the task",
    "chain": "inside of the task",
    "chord": "inside of the task",
    "group_id": "inside of the task",
    "exchange": "Name one of QUEUES",
    "routing_key": "Name one of QUEUES",
    "serializer": "what JSON can carry",
    "anything_else": "knows no such option",
}


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("option", CURES)
def test_an_option_that_a_row_cannot_keep_is_refused_with_its_cure(
    option: str, eager: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.conf, "task_always_eager", eager)
    with pytest.raises(OptionRefusedError, match=rf"cannot keep {option}\. .*{CURES[option]}"):
        plain.apply_async(**{option: "pickle"})
    assert (Message.objects.count(), seen) == (0, [])


@pytest.mark.parametrize("options", [{"queue": "nowhere"}, {"priority": 17}], ids=str)
def test_eager_calls_refuse_what_production_refuses(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.conf, "task_always_eager", True)
    with pytest.raises(OptionRefusedError):
        plain.apply_async(**options)
    assert seen == []
    assert plain.apply_async((1,), queue="default", priority=3, occurrence="once").successful()


@pytest.mark.parametrize(
    "route", [{"exchange": "other"}, {"routing_key": "a.b"}, {"queue": "default", "routing_key": "x"}]
)
def test_a_route_that_is_no_queue_is_refused(route: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.amqp.router, "routes", [lambda *args, **options: dict(route)])
    with pytest.raises(OptionRefusedError, match="task_routes"):
        plain.delay()


def canvases(first: Any, second: Any) -> dict[str, Any]:
    return {
        "chain": chain(first.si(1), second.si(2)),
        "group": group(first.si(1), second.si(2)),
        "chord": chord([first.si(1), first.si(3)], second.si(2)),
        "group of chains": group(chain(first.si(1), first.si(2)), chain(first.si(3), second.si(4))),
        "link": first.si(1).on_error(second.si(2)),
        "chunks": second.chunks([(1,), (2,)], 1),
        "map": second.map([1, 2]),
        "starmap": second.starmap([(1,), (2,)]),
        "by name": group(first.si(1), signature("a.task.that.nobody.here.knows", app=app)),
    }


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("first", [plain, straight], ids=["durable", "mixed"])
@pytest.mark.parametrize("kind", list(canvases(plain, plain)))
def test_no_part_of_a_canvas_is_published_if_one_is_durable(
    kind: str, first: Any, eager: bool, published: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.conf, "task_always_eager", eager)
    with pytest.raises(OptionRefusedError, match="durable"):
        canvases(first, plain)[kind].apply_async()
    assert (published, Message.objects.count(), seen) == ([], 0, [])


@pytest.mark.parametrize("kind", ["chain", "group", "link", "chunks", "map", "starmap"])
def test_a_canvas_of_tasks_that_opt_out_is_celerys(kind: str, published: list[Any]) -> None:
    canvases(straight, straight)[kind].apply_async()
    assert published
    assert Message.objects.count() == 0


def test_a_generator_of_steps_is_not_read_ahead(published: list[Any]) -> None:
    made: list[int] = []

    def steps(task: Any) -> Iterator[Any]:
        for number in range(5):
            made.append(number)
            yield task.si(number)

    with pytest.raises(OptionRefusedError, match="durable"):
        group(steps(plain)).apply_async()
    assert (published, Message.objects.count(), len(made) < 5) == ([], 0, True)


def test_a_chain_of_one_is_a_call() -> None:
    chain(plain.s(1)).apply_async()
    assert run_due_tasks() == [states.SUCCESS]


def test_a_durable_task_cannot_be_replaced() -> None:
    result = replace_itself.delay()
    assert run(result) == states.FAILURE
    assert "cannot replace()" in message_of(result).last_error
    assert Message.objects.count() == 1


# --- any class of tasks is durable ------------------------------------------------------------------------------------


class Counting(Task):
    """Knows nothing of the outbox, and has a `__call__` of its own."""

    abstract = True
    max_retries = 2
    calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        type(self).calls += 1
        return self.run(*args, **kwargs)


class Recording(Task):
    abstract = True

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        Message.objects.filter(pk=task_id).update(headers='{"recorded": true}')
        seen.append(message_state(task_id))


def message_state(task_id: str) -> str:
    return Message.objects.get(pk=task_id).state


@shared_task(base=Recording)
def recorded() -> None:
    """What its class records is committed with `done`."""


class Registered(Task):
    name = "tests.registered"

    def run(self, a: int) -> None:
        seen.append(a)


class RegisteredStraight(Registered):
    name = "tests.registered.straight"
    durable = False
    max_retries = 9


@shared_task(base=Counting)
def counted(a: int) -> None:
    seen.append(a)


@shared_task(base=AbortableTask, bind=True)
def abortable(self: Any, a: int) -> None:
    seen.append((a, callable(self.is_aborted)))


def test_a_base_of_plain_celery_is_made_durable_and_what_it_overrides_counts() -> None:
    Counting.calls = app.tasks[counted.name].__class__.calls = 0
    result = counted.delay(1)
    assert message_of(result).max_attempts == 3
    assert run(result) == states.SUCCESS
    assert (seen, app.tasks[counted.name].calls) == ([1], 1)


def test_what_a_base_of_plain_celery_records_is_committed_with_done() -> None:
    result = recorded.delay()
    take()
    claims = ledger.claim([UUID(result.id)], token=uuid4(), worker=WORKER, lease_seconds=20)
    outcome = run_in_this_process(claims[0])
    assert (outcome.settled, seen, message_of(result).state) == (True, ["running"], State.DONE)


def test_celerys_own_bases_are_made_durable() -> None:
    assert run(abortable.delay(1)) == states.SUCCESS
    assert seen == [(1, True)]


@pytest.mark.parametrize("task", [Registered, Registered()], ids=["class", "instance"])
def test_a_registered_class_is_made_durable(task: Any) -> None:
    try:
        registered = app.register_task(task)
        assert run(registered.delay(7)) == states.SUCCESS
        assert seen == [7]
    finally:
        app.tasks.unregister(Registered.name)


def test_a_registered_class_may_opt_out(published: list[Any]) -> None:
    try:
        registered = app.register_task(RegisteredStraight())
        registered.delay(7)
        assert (registered.max_retries, registered.acks_late, published) == (9, True, [RegisteredStraight.name])
    finally:
        app.tasks.unregister(RegisteredStraight.name)


def test_celerys_own_tasks_are_not_durable() -> None:
    own = [task for name, task in app.tasks.items() if name.startswith("celery.")]
    assert own
    assert not any(task.durable for task in own)
