"""The bookkeeper of a worker: its thread, the ledger and the databases are real; broker and pool are left out."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.backends.signals import connection_created
from kombu.message import Message as BrokerMessage
from pytest_django import Settings

from app.first_run.processes import find_free_port
from brokers.wire import TaskMessage
from outbox import ledger, sql
from outbox.ledger import Answer, Claim
from outbox.models import Message, PoisonMessage
from outbox.running import Kind, Outcome
from tests.harness.waiting import wait_until
from tests.outbox_rows import LEASE_SECONDS, TASK, WORKER, add, claim, let_pass, publish, row, seconds_from_now, state
from workers.bookkeeping import bookkeeper
from workers.bookkeeping.answers import Delivery
from workers.bookkeeping.bookkeeper import Bookkeeper
from workers.bookkeeping.holds import MOST_AHEAD, Pace

pytestmark = pytest.mark.django_db(transaction=True)

State = Message.State

#: Enough that no test about something else has to begin or end anything to make room.
PLACES = 200

CLAIM, COMPLETE = "claimed_at = ", "state = 'done'"

DONE = Outcome(Kind.DONE, 0.1)


def knows(claim: Claim) -> str:
    if claim.task != TASK:
        return "is a task that this worker does not know"
    return "" if claim.queue == "default" else f"is of the queue {claim.queue}"


class Worker:
    """The rest of a worker, as far as its bookkeeper sees it: it begins and ends claims when the test says so."""

    def __init__(self, places: int = PLACES, *, counts_at_once: bool = False) -> None:
        self.answered: list[Delivery] = []
        self.bookkeeper = Bookkeeper(WORKER, places, knows, self.take, counts_at_once=counts_at_once)

    def take(self, deliveries: Sequence[Delivery]) -> None:
        self.answered += deliveries

    def deliver(self, *ids: UUID, task: str = TASK) -> list[Delivery]:
        return [self.deliver_message(TaskMessage(id, task).headers, b"[[], {}, {}]", id) for id in ids]

    def deliver_message(self, headers: Any, body: bytes, id: UUID | None = None, reason: str = "") -> Delivery:
        message = BrokerMessage(headers=headers, body=body, delivery_info={"routing_key": "default"})  # type: ignore[arg-type]
        delivery = Delivery(message, id, 1, reason)
        self.bookkeeper.deliver(delivery)
        return delivery

    def wait_for(self, *deliveries: Delivery) -> list[Answer | None]:
        """Their answers, as soon as the worker has been told all of them."""
        wait_until(lambda: all(each in self.answered for each in deliveries), "the answers", every_seconds=0.005)
        return [each.answer for each in deliveries]

    def start(self, *ids: UUID) -> list[Claim]:
        """Claim these messages."""
        deliveries = self.deliver(*ids)
        if not self.bookkeeper._thread.is_alive():
            self.bookkeeper.start()
        assert set(self.wait_for(*deliveries)) == {Answer.CLAIMED}
        return [each.claim for each in deliveries if each.claim]

    def begin(self, *claims: Claim) -> None:
        for each in claims:
            assert self.bookkeeper.handed(each)
            self.bookkeeper.begun(each)

    def end(self, *claims: Claim, outcome: Outcome = DONE) -> None:
        for each in claims:
            self.bookkeeper.settle(each, outcome)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(bookkeeper, "SETTLING_SECONDS", 0.3)
    worker = Worker()
    yield worker
    stop(worker)


def stop(worker: Worker) -> None:
    if worker.bookkeeper._thread.is_alive():
        worker.bookkeeper.stop(within_seconds=20)
        assert not worker.bookkeeper._thread.is_alive()


Hook = Callable[[Callable[[], Any], str], Any]


@contextmanager
def at_each_statement(hook: Hook) -> Iterator[None]:
    """Let `hook` execute the statements of every bookkeeper that is started in this block."""

    def wrap(execute: Any, statement: str, params: Any, *context: Any) -> Any:
        return hook(lambda: execute(statement, params, *context), statement)

    def connected(connection: Any, **_: Any) -> None:
        if threading.current_thread().name == "worker-bookkeeper" and wrap not in connection.execute_wrappers:
            connection.execute_wrappers.append(wrap)

    connection_created.connect(connected)
    try:
        yield
    finally:
        connection_created.disconnect(connected)


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """The statements of the bookkeeper, in their order."""
    seen: list[str] = []

    def see(execute: Callable[[], Any], statement: str) -> Any:
        seen.append(statement)
        return execute()

    with at_each_statement(see):
        yield seen


def count(statements: Sequence[str], part: str) -> int:
    return sum(part in each for each in statements)


class TestClaims:
    def test_many_deliveries_are_claimed_in_one_statement(self, worker: Worker, statements: list[str]) -> None:
        ids = [publish() for _ in range(20)]
        claims = worker.start(*ids)
        assert [each.id for each in claims] == ids
        assert len(statements) == 1
        assert {(row(id).state, row(id).worker, row(id).attempts) for id in ids} == {(State.RUNNING, WORKER, 0)}
        assert worker.bookkeeper.counts == {"claimed": 20}

    def test_of_copies_in_one_batch_the_first_is_run(self, worker: Worker) -> None:
        id, other = publish(), publish()
        copies = worker.deliver(id, other, id, id)
        worker.bookkeeper.start()
        assert worker.wait_for(*copies) == [Answer.CLAIMED, Answer.CLAIMED, Answer.DUPLICATE, Answer.DUPLICATE]
        assert [bool(each.claim) for each in copies] == [True, True, False, False]

    def test_a_later_copy_is_a_duplicate_too(self, worker: Worker) -> None:
        [claimed] = worker.start(publish())
        assert worker.wait_for(*worker.deliver(claimed.id)) == [Answer.DUPLICATE]
        worker.begin(claimed)
        worker.end(claimed)
        wait_until(lambda: state(claimed.id) == State.DONE, "it is settled")
        assert worker.wait_for(*worker.deliver(claimed.id)) == [Answer.DUPLICATE]

    def test_what_this_worker_cannot_run_is_left_to_another_one(self, worker: Worker) -> None:
        unknown, elsewhere, fine = publish(task="tests.other"), publish(queue="other"), publish()
        deliveries = worker.deliver(unknown, elsewhere, fine, unknown)
        worker.bookkeeper.start()
        assert worker.wait_for(*deliveries) == [Answer.REFUSED, Answer.REFUSED, Answer.CLAIMED, Answer.DUPLICATE]
        for id, reason in (unknown, "is a task that this worker does not know"), (elsewhere, "is of the queue other"):
            message = row(id)
            assert (message.state, message.attempts, message.lease) == (State.PENDING, 0, None)
            assert message.last_error == f"Refused by {WORKER}: {reason}"

    def test_the_row_says_which_task_it_is_whatever_the_message_says(self, worker: Worker) -> None:
        known, unknown = publish("genuine"), publish(task="tests.other")
        deliveries = [*worker.deliver(known, task="tests.forged"), *worker.deliver(unknown, task=TASK)]
        worker.bookkeeper.start()
        assert worker.wait_for(*deliveries) == [Answer.CLAIMED, Answer.REFUSED]
        claimed = deliveries[0].claim
        assert claimed is not None
        assert (claimed.task, claimed.decode()[0]) == (TASK, ["genuine"])

    def test_an_id_that_nobody_knows_is_kept_with_its_bytes(self, worker: Worker) -> None:
        id = uuid4()
        delivery = worker.deliver_message({"task": TASK, "id": str(id)}, b'[["forged \xff"], {}, {}]', id)
        worker.bookkeeper.start()
        assert worker.wait_for(delivery) == [Answer.UNKNOWN]
        poison = PoisonMessage.objects.get()
        assert bytes(poison.body) == b'[["forged \xff"], {}, {}]'
        assert poison.queue == "default"
        assert str(id) in poison.reason

    def test_so_is_what_cannot_be_read(self, worker: Worker) -> None:
        delivery = worker.deliver_message({"task": 7}, b"\x00\xff", None, "is no Celery task")
        worker.bookkeeper.start()
        assert worker.wait_for(delivery) == [Answer.UNKNOWN]
        poison = PoisonMessage.objects.get()
        assert (bytes(poison.body), poison.reason) == (b"\x00\xff", "is no Celery task")

    @pytest.mark.parametrize("headers", [{}, {7: 1j}, {"\ud83c": "\x00"}], ids=ascii)
    def test_whatever_cannot_be_read_the_others_are_claimed(self, worker: Worker, headers: Any) -> None:
        delivery = worker.deliver_message(headers, b"garbled", None, "is garbled \ud83c\x00")
        worker.start(publish())
        assert worker.wait_for(delivery) == [Answer.UNKNOWN]
        assert PoisonMessage.objects.get().size == len(b"garbled")

    def test_what_cannot_even_be_kept_does_not_stop_the_others(
        self, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        delivery = worker.deliver_message({}, b"garbled", None, "is garbled")
        delivery.reason = None  # type: ignore[assignment]
        worker.start(publish())
        assert worker.wait_for(delivery) == [Answer.UNKNOWN]
        assert "garbled" in caplog.text

    def test_what_has_expired_is_dead(self, worker: Worker) -> None:
        late, fresh = publish(expires=10), publish(expires=100)
        let_pass(11)
        deliveries = worker.deliver(late, fresh)
        worker.bookkeeper.start()
        assert worker.wait_for(*deliveries) == [Answer.EXPIRED, Answer.CLAIMED]
        assert (state(late), row(late).last_error) == (State.DEAD, ledger.EXPIRED)

    def test_each_answer_is_counted(self, worker: Worker) -> None:
        late = publish(expires=10)
        let_pass(11)
        deliveries = worker.deliver(publish(), publish(task="tests.other"), late, add(countdown=60), uuid4(), uuid4())
        worker.bookkeeper.start()
        worker.wait_for(*deliveries)
        assert worker.bookkeeper.counts == {"claimed": 1, "refused": 1, "expired": 1, "duplicate": 1, "unknown": 2}


class TestFlow:
    @pytest.mark.parametrize("places", [1, 3])
    def test_it_never_claims_more_than_the_places_can_use(self, monkeypatch: pytest.MonkeyPatch, places: int) -> None:
        worker, waiting, seen = Worker(places), Counter[str](), list[tuple[int, int]]()

        def take(deliveries: Sequence[Delivery]) -> None:
            waiting["now"] += sum(each.answer is Answer.CLAIMED for each in deliveries)
            seen.append((waiting["now"], worker.bookkeeper.pace.ahead))
            Worker.take(worker, deliveries)

        worker.bookkeeper.answered = take
        ids = [publish() for _ in range(30)]
        worker.deliver(*ids)
        worker.bookkeeper.start()
        try:
            for number in range(len(ids)):
                wait_until(lambda: len(worker.answered) > number, "the next claim")  # noqa: B023
                claimed = worker.answered[number].claim
                assert claimed is not None
                waiting["now"] -= 1
                worker.begin(claimed)
                worker.end(claimed)
        finally:
            stop(worker)
        assert all(now <= ahead for now, ahead in seen)
        assert max(ahead for _, ahead in seen) == places
        assert {state(id) for id in ids} == {State.DONE}

    def test_more_is_claimed_once_half_of_what_waited_for_a_place_has_begun(self) -> None:
        worker = Worker(places=3)
        deliveries = worker.deliver(*[publish() for _ in range(7)])
        worker.bookkeeper.start()
        try:
            worker.wait_for(*deliveries[:3])
            first, second, _ = [each.claim for each in deliveries[:3] if each.claim]
            worker.begin(first)
            wait_until(lambda: row(first.id).attempts == 1, "it is recorded")
            assert len(worker.answered) == 3
            worker.begin(second)
            worker.wait_for(*deliveries[:5])
            assert len(worker.answered) == 5
        finally:
            stop(worker)

    def test_the_faster_the_tasks_the_more_are_at_hand(self) -> None:
        pace = Pace(places=4)
        assert pace.ahead == 4
        learn(pace, 0.01)
        assert 30 < pace.ahead <= 41
        learn(pace, 0)
        assert pace.ahead == 4 * MOST_AHEAD
        learn(pace, 3600)
        assert pace.ahead == 4


def learn(pace: Pace, seconds: float) -> None:
    for _ in range(200):
        pace.learn(seconds)


class TestOutcomes:
    def test_many_are_settled_in_one_statement(self, worker: Worker, statements: list[str]) -> None:
        claims = worker.start(*[publish() for _ in range(20)])
        with worker.bookkeeper._changed:
            worker.begin(*claims)
            worker.end(*claims)
        wait_until(lambda: {state(each.id) for each in claims} == {State.DONE}, "all are settled")
        assert (count(statements, COMPLETE), len(statements)) == (1, 2)

    def test_what_the_process_that_ran_it_has_settled_is_not_settled_again(
        self, worker: Worker, statements: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        settled, late, left = claims = worker.start(*[publish() for _ in range(3)])
        with worker.bookkeeper._changed:
            worker.begin(*claims)
            worker.end(settled, outcome=Outcome(Kind.DONE, settled=True))
            worker.end(late, outcome=Outcome(Kind.DONE, settled=False))
            worker.end(left)
        wait_until(lambda: state(left.id) == State.DONE, "the one that is left is settled")
        assert (state(settled.id), state(late.id), count(statements, COMPLETE)) == (State.RUNNING, State.RUNNING, 1)
        assert [str(claim.id) for claim in claims if str(claim.id) in caplog.text] == [str(late.id)]

    def test_an_attempt_that_goes_on_counts_while_it_runs(self, worker: Worker) -> None:
        [claimed] = worker.start(publish())
        worker.begin(claimed)
        wait_until(lambda: row(claimed.id).attempts == 1, "it is recorded")
        worker.end(claimed)
        wait_until(lambda: state(claimed.id) == State.DONE, "it is settled")
        assert row(claimed.id).attempts == 1

    def test_each_ends_as_it_did(self, worker: Worker) -> None:
        outcomes = {
            Outcome(Kind.DONE, 1): State.DONE,
            Outcome(Kind.RETRY, 1, "no", countdown=60): State.PENDING,
            Outcome(Kind.DEAD, 1, "never"): State.DEAD,
            Outcome(Kind.CUT_SHORT, 1, "killed"): State.PENDING,
            Outcome(Kind.REFUSED, error="cannot decode the arguments"): State.PENDING,
        }
        claims = worker.start(*[publish() for _ in outcomes])
        worker.begin(*claims)
        for each, outcome in zip(claims, outcomes, strict=True):
            worker.end(each, outcome=outcome)
        stop(worker)
        assert [state(each.id) for each in claims] == list(outcomes.values())
        assert [row(each.id).attempts for each in claims] == [1, 1, 1, 1, 0]
        assert worker.bookkeeper.counts == {"claimed": 5, "refused": 1}

    @pytest.mark.parametrize("countdown", [1e300, 10**400], ids=["1e300", "10**400"])
    def test_what_the_ledger_cannot_keep_is_dead_and_the_others_are_settled(
        self, worker: Worker, countdown: float
    ) -> None:
        odd, fine = worker.start(publish(), publish())
        worker.begin(odd, fine)
        with worker.bookkeeper._changed:
            worker.end(odd, outcome=Outcome(Kind.RETRY, 1, "ValueError: no", countdown=countdown))
            worker.end(fine, outcome=Outcome(Kind.DEAD, 1, "no"))
        wait_until(lambda: state(fine.id) == State.DEAD, "the other is settled")
        message = row(odd.id)
        assert message.state == State.DEAD
        assert message.last_error.startswith("ValueError: no\nIt cannot be tried again as it asked to be: ")

    def test_of_a_claim_that_was_lost_nothing_is_settled(
        self, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        [lost] = worker.start(publish())
        worker.begin(lost)
        wait_until(lambda: row(lost.id).begun_at, "the ledger to know that it has begun")
        let_pass(LEASE_SECONDS + 1)
        assert claim(lost.id)
        worker.end(lost)
        wait_until(lambda: f"[{lost.id}] ended after its lease" in caplog.text, "a warning")
        assert state(lost.id) == State.RUNNING

    def test_of_two_claims_of_a_message_the_newer_one_is_held(
        self, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As it happens when a database was away for longer than a lease."""
        [lost] = worker.start(publish())
        let_pass(LEASE_SECONDS + 1)
        [newer] = worker.start(lost.id)
        assert not worker.bookkeeper.handed(lost)
        worker.begin(newer)
        worker.end(lost)
        worker.bookkeeper.release(lost)
        assert "ended after its lease" in caplog.text
        worker.end(newer)
        wait_until(lambda: state(newer.id) == State.DONE, "the newer one is settled")


class TestAttemptsThatCountAtOnce:
    """As in a pool of threads, where a task may end the process of the bookkeeper."""

    @pytest.fixture
    def worker(self) -> Iterator[Worker]:
        worker = Worker(counts_at_once=True)
        yield worker
        stop(worker)

    def test_they_count_when_they_are_claimed_and_are_not_recorded_again(
        self, worker: Worker, statements: list[str]
    ) -> None:
        [claimed] = worker.start(publish())
        assert row(claimed.id).attempts == claimed.attempt == 1
        worker.begin(claimed)
        time.sleep(2 * bookkeeper.BEGIN_SECONDS)  # as long as another attempt would take to be recorded
        worker.end(claimed)
        wait_until(lambda: state(claimed.id) == State.DONE, "it is settled")
        assert (row(claimed.id).attempts, len(statements)) == (1, 2)

    def test_what_is_given_back_or_refused_has_used_none(self, worker: Worker) -> None:
        waiting, refused = publish(), publish(task="tests.other")
        deliveries = worker.deliver(waiting, refused)
        worker.bookkeeper.start()
        assert worker.wait_for(*deliveries) == [Answer.CLAIMED, Answer.REFUSED]
        worker.bookkeeper.release_waiting()
        wait_until(lambda: state(waiting) == State.PENDING, "it is given back")
        assert [row(id).attempts for id in (waiting, refused)] == [0, 0]


class TestLeases:
    @pytest.fixture(autouse=True)
    def soon(self, settings: Settings) -> None:
        settings.OUTBOX = settings.OUTBOX.model_copy(update={"renew_seconds": 0.05})

    def test_of_what_waits_for_a_place_they_are_renewed(self, worker: Worker) -> None:
        waiting, running = worker.start(publish(), publish())
        worker.begin(running)
        wait_until(lambda: row(running.id).attempts == 1, "it is recorded")
        let_pass(15)
        wait_until(lambda: seconds_from_now(waiting.id) > LEASE_SECONDS - 5, "a renewal")
        assert seconds_from_now(running.id) < LEASE_SECONDS - 5, "who runs it renews it"

    def test_what_was_lost_while_it_waited_is_not_begun(self, worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
        lost, kept = worker.start(publish(), publish())
        Message.objects.filter(pk=lost.id).update(lease=uuid4())
        wait_until(lambda: f"Lost the lease of {TASK}[{lost.id}]" in caplog.text, "a warning")
        assert not worker.bookkeeper.handed(lost)
        assert worker.bookkeeper.handed(kept)


class TestGivingBack:
    def test_what_waits_for_a_place_is_given_back(self, worker: Worker) -> None:
        waiting, handed, running = worker.start(publish(countdown=-50), publish(), publish())
        worker.begin(running)
        worker.bookkeeper.handed(handed)
        worker.bookkeeper.release_waiting()
        wait_until(lambda: state(waiting.id) == State.PENDING, "it is given back")
        assert (row(waiting.id).attempts, row(waiting.id).lease) == (0, None)
        assert seconds_from_now(waiting.id) == pytest.approx(-50, abs=5)
        assert not worker.bookkeeper.handed(waiting), "it must not run any more"
        assert [state(handed.id), state(running.id)] == [State.RUNNING] * 2
        worker.begin(handed)
        worker.end(handed, running)
        wait_until(lambda: {state(handed.id), state(running.id)} == {State.DONE}, "they are settled")

    def test_so_is_what_the_pool_had_if_the_pool_is_gone(self, worker: Worker) -> None:
        handed, running = worker.start(publish(), publish())
        worker.bookkeeper.handed(handed)
        worker.begin(running)
        worker.bookkeeper.release_waiting(pool_is_gone=True)
        wait_until(lambda: state(handed.id) == State.PENDING, "it is given back")
        assert state(running.id) == State.RUNNING

    def test_what_was_delivered_and_not_claimed_is_left_to_the_broker(self) -> None:
        worker = Worker(places=1)
        first, second = worker.deliver(publish(), publish())
        worker.bookkeeper.start()
        worker.wait_for(first)
        stop(worker)
        assert second.answer is None
        assert second.id is not None
        assert state(second.id) == State.PUBLISHED

    def test_stopping_settles_what_there_is(self, worker: Worker) -> None:
        claims = worker.start(*[publish() for _ in range(10)])
        worker.begin(*claims[:8])
        with worker.bookkeeper._changed:
            worker.end(*claims[:4])
            worker.end(*claims[4:7], outcome=Outcome(Kind.RETRY, 1, "no"))
        worker.bookkeeper.stop(within_seconds=20)
        assert not worker.bookkeeper._thread.is_alive()
        assert [state(each.id) for each in claims[:7]] == [State.DONE] * 4 + [State.PENDING] * 3
        running, *waiting = claims[7:]
        assert (state(running.id), row(running.id).attempts) == (State.RUNNING, 1), "it runs until its lease ends"
        assert [(state(each.id), row(each.id).attempts) for each in waiting] == [(State.PENDING, 0)] * 2

    def test_what_is_claimed_while_the_worker_stops_is_given_back(self, worker: Worker) -> None:
        asked, stopping = threading.Event(), threading.Event()

        def wait_with_the_claim(execute: Callable[[], Any], statement: str) -> Any:
            if CLAIM in statement:
                asked.set()
                assert stopping.wait(20)
            return execute()

        id = publish()
        worker.deliver(id)
        with at_each_statement(wait_with_the_claim):
            worker.bookkeeper.start()
            assert asked.wait(20)
            worker.bookkeeper.stop(within_seconds=0)
            stopping.set()
            worker.bookkeeper._thread.join(20)
        assert (state(id), row(id).attempts) == (State.PENDING, 0)


class Outage:
    """The database is away for all but the test's own connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._port, self._monkeypatch = connection.settings_dict["PORT"], monkeypatch

    def begin(self) -> None:
        connection.ensure_connection()
        self._monkeypatch.setitem(connection.settings_dict, "PORT", find_free_port())
        cut_others()

    def end(self) -> None:
        self._monkeypatch.setitem(connection.settings_dict, "PORT", self._port)


def cut_others() -> None:
    sql.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        [],
    )


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    outage = Outage(monkeypatch)
    yield outage
    outage.end()


# SQLite is a file: it does not go away.
@pytest.mark.databases("postgresql")
class TestDatabaseAway:
    def test_outcomes_are_kept_until_it_is_back(
        self, outage: Outage, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        claims = worker.start(*[publish() for _ in range(120)])
        worker.begin(*claims)
        wait_until(lambda: row(claims[-1].id).attempts == 1, "they are recorded")
        outage.begin()
        worker.end(*claims[:110])
        worker.end(*claims[110:], outcome=Outcome(Kind.RETRY, 1, "no"))
        wait_until(lambda: caplog.text.count("The database does not answer") >= 3, "it is tried again and again")
        assert {state(each.id) for each in claims} == {State.RUNNING}
        outage.end()
        wait_until(lambda: not Message.objects.filter(state=State.RUNNING).exists(), "they are settled")
        assert Counter(Message.objects.values_list("state", flat=True)) == {State.DONE: 110, State.PENDING: 10}
        assert set(Message.objects.values_list("attempts", flat=True)) == {1}

    def test_what_has_begun_and_what_is_given_back_is_recorded_then(
        self, outage: Outage, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        running, waiting = worker.start(publish(), publish())
        outage.begin()
        worker.begin(running)
        worker.bookkeeper.release(waiting)
        wait_until(lambda: "The database does not answer" in caplog.text, "it is noticed")
        outage.end()
        wait_until(lambda: row(running.id).attempts == 1 and state(waiting.id) == State.PENDING, "both are recorded")

    def test_who_has_finished_something_goes_before_whoever_claims(
        self, outage: Outage, worker: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The lease of a worker may have ended while it was cut off: its message must not be run again for that."""
        finished = claim(publish())
        assert finished is not None
        let_pass(LEASE_SECONDS + 1)
        worker.bookkeeper.start()
        outage.begin()
        [delivery] = worker.deliver(finished.id)
        wait_until(lambda: "The database does not answer" in caplog.text, "it is noticed")
        outage.end()
        wait_until(lambda: is_connected(), "it is connected again")
        assert ledger.complete(finished)
        assert worker.wait_for(delivery) == [Answer.DUPLICATE]

    def test_a_claim_whose_answer_was_lost_is_made_once(self, worker: Worker) -> None:
        claims_made: list[str] = []

        def cut_after_the_claim(execute: Callable[[], Any], statement: str) -> Any:
            result = execute()
            if CLAIM in statement:
                claims_made.append(statement)
                if len(claims_made) == 1:
                    cut_this_connection()
                    sql.query("SELECT 1", [])  # fails: the answer cannot be read any more
            return result

        ids = [publish(max_attempts=1) for _ in range(3)]
        with at_each_statement(cut_after_the_claim):
            claims = worker.start(*ids)
        assert len(claims_made) == 2
        assert {(row(id).state, row(id).attempts) for id in ids} == {(State.RUNNING, 0)}
        worker.begin(*claims)
        worker.end(*claims)
        wait_until(lambda: {state(id) for id in ids} == {State.DONE}, "they are settled")
        assert {row(id).attempts for id in ids} == {1}

    def test_stopping_gives_up_after_a_while(self, outage: Outage, worker: Worker) -> None:
        [claimed] = worker.start(publish())
        worker.begin(claimed)
        outage.begin()
        worker.end(claimed)
        began = time.monotonic()
        worker.bookkeeper.stop(within_seconds=0.2)
        assert time.monotonic() - began < 5
        assert worker.bookkeeper._thread.is_alive()
        outage.end()
        wait_until(lambda: state(claimed.id) == State.DONE, "it is settled if the database comes back in time")


def is_connected() -> bool:
    """Whether anybody but this test is."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return bool(sql.query(f"SELECT 1 {others}", []))


def cut_this_connection() -> None:
    [(pid,)] = sql.query("SELECT pg_backend_pid()", [])

    def cut() -> None:
        sql.query("SELECT pg_terminate_backend(%s)", [pid])
        connection.close()

    thread = threading.Thread(target=cut)
    thread.start()
    thread.join()
