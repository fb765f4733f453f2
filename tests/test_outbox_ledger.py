"""The ledger, statement by statement: what each does to a message, and to whom it refuses it."""

import re
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kombu.exceptions import EncodeError

from outbox import ledger, sql
from outbox.ledger import Answer
from outbox.models import Message, Pause
from tests.outbox_rows import (
    ERROR,
    LEASE_SECONDS,
    LOST_AFTER_SECONDS,
    TASK,
    WORKER,
    add,
    again,
    claim,
    die,
    let_pass,
    publish,
    row,
    seconds_from_now,
    start,
    state,
    take,
)

pytestmark = pytest.mark.django_db

State = Message.State

#: How far two looks at the clock may be apart.
MOMENT = pytest.approx(0, abs=5)


def approx(seconds: float) -> Any:
    return pytest.approx(seconds, abs=5)


def claim_all(
    *ids: UUID, token: UUID | None = None, lease_seconds: float = LEASE_SECONDS, counts: bool = False
) -> list[ledger.Claim]:
    """Claim messages that a worker does not begin yet, in the order of the ids."""
    claims = ledger.claim(ids, token=token or uuid4(), worker=WORKER, lease_seconds=lease_seconds, counts=counts)
    return sorted(claims, key=lambda each: ids.index(each.id))


def refuse(*claims: ledger.Claim, reason: str = "is unknown", give_up_days: float = 7) -> None:
    ledger.refuse(claims, [reason] * len(claims), worker=WORKER, give_up_days=give_up_days)


def finish(message_id: UUID, how: str) -> None:
    """Bring a pending message to one of the states that nothing follows on by itself."""
    take()
    if how == State.DISCARDED:
        ledger.discard([message_id], by="ada")
        return
    claimed = again(message_id)
    ledger.complete(claimed) if how == State.DONE else ledger.fail(claimed, error=ERROR)


FINISHED = [State.DONE, State.DEAD, State.DISCARDED]


class TestEnqueue:
    def test_a_message_is_pending_and_due_at_once(self) -> None:
        message = row(add(1, queue="mail", priority=3, max_attempts=4, headers={"trace": "7"}))
        assert (message.state, message.task, message.queue, message.priority) == (State.PENDING, TASK, "mail", 3)
        assert (message.attempts, message.max_attempts, message.publishes) == (0, 4, 0)
        assert (message.last_error, message.history, message.occurrence) == ("", "", None)
        assert (message.expires_at, message.published_at, message.finished_at) == (None, None, None)
        assert seconds_from_now(message.id) == MOMENT
        assert seconds_from_now(message.id, "created_at") == MOMENT

    def test_ids_of_later_messages_are_greater(self) -> None:
        ids = [add() for _ in range(20)]
        assert ids == sorted(ids)
        assert {id.version for id in ids} == {7}

    def test_an_id_may_be_given(self) -> None:
        given = uuid4()
        assert add(id=given) == given
        assert row(given).id == given

    def test_a_countdown_delays_it(self) -> None:
        assert seconds_from_now(add(countdown=2_592_000)) == approx(2_592_000)

    @pytest.mark.parametrize("countdown", [1e-05, 0.25, -7.5])
    def test_no_countdown_is_too_odd(self, countdown: float) -> None:
        assert seconds_from_now(add(countdown=countdown)) == approx(countdown)

    def test_an_eta_delays_it_until_then(self) -> None:
        eta = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
        assert row(add(eta=eta)).due_at == eta

    def test_an_eta_of_another_zone_is_the_same_moment(self) -> None:
        eta = datetime.fromisoformat("2031-05-06T07:08:09+05:30")
        assert row(add(eta=eta)).due_at == eta

    def test_it_expires_after_so_many_seconds_or_at_a_moment(self) -> None:
        moment = datetime(2031, 5, 6, tzinfo=UTC)
        assert seconds_from_now(add(expires=90), "expires_at") == approx(90)
        assert row(add(expires=moment)).expires_at == moment

    def test_an_occurrence_is_enqueued_once(self) -> None:
        first = add(1, occurrence="report@2026-11-22")
        assert add(2, occurrence="report@2026-11-22") == first
        assert add(3, occurrence="report@2026-11-23") != first
        assert Message.objects.count() == 2
        assert again_decoded(first) == [1]

    def test_an_occurrence_that_is_done_is_not_enqueued_again(self) -> None:
        first = add(occurrence="report@2026-11-22")
        finish(first, State.DONE)
        assert add(occurrence="report@2026-11-22") == first
        assert state(first) == State.DONE

    def test_messages_without_an_occurrence_do_not_collide(self) -> None:
        assert add() != add()


def again_decoded(message_id: UUID) -> list[Any]:
    take()
    return again(message_id).decode()[0]


ARGUMENTS = [
    UUID("018f2b6e-7c1a-7000-8000-1234567890ab"),
    Decimal("1234567890.0000000001"),
    datetime(2026, 11, 22, 13, 45, 59, 123456, tzinfo=UTC),
    datetime(2026, 11, 22, 13, 45),
    date(2026, 2, 28),
    time(23, 59, 1),
    b"bytes \xff\x00",
    "Grüße, 你好, 🎁",
    "nul \x00 and half a pair \ud83c",
    {"nested": [{"id": UUID(int=7), "price": Decimal("0.10")}, None, True, 1.5, 2**70]},
    float("inf"),
]


class TestArguments:
    @pytest.mark.parametrize("argument", ARGUMENTS, ids=repr)
    def test_they_come_back_as_they_were(self, argument: Any) -> None:
        id = ledger.enqueue(TASK, [argument], {"key": argument}, queue="default", headers={"sent": argument})
        take()
        assert again(id).decode() == ([argument], {"key": argument}, {"sent": argument})

    @pytest.mark.parametrize("argument", [object(), {1, 2}, 1j, {("a", "b"): 1}], ids=["object", "set", "1j", "key"])
    def test_what_json_cannot_carry_is_refused_before_anything_is_written(self, argument: Any) -> None:
        with pytest.raises(EncodeError, match=rf"cannot keep the arguments of {TASK}: .* Pass an id instead\."):
            add(argument)
        with pytest.raises(EncodeError, match=rf"cannot keep the headers of {TASK}: "):
            add(headers={"extra": argument})
        assert not Message.objects.exists()

    def test_one_that_holds_itself_is_refused(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        with pytest.raises(EncodeError, match="Circular"):
            add(endless)

    def test_5_mb_of_them_are_kept(self) -> None:
        text = "x" * 5_000_000
        id = add(text)
        take()
        assert again(id).decode()[0] == [text]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.uuids() | st.datetimes() | st.dates(),
        lambda values: st.lists(values) | st.dictionaries(st.text(), values),
        max_leaves=8,
    )
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_arguments_come_back_as_they_were(argument: Any) -> None:
    id = add(argument)
    take()
    assert again(id).decode() == ([argument], {}, {})


class TestTakeDue:
    def test_what_is_due_is_published(self) -> None:
        id = add()
        [message] = ledger.take_due("default", limit=10, lost_after_seconds=30)
        assert (message.id, message.task) == (id, TASK)
        assert state(id) == State.PUBLISHED
        assert seconds_from_now(id, "published_at") == MOMENT

    def test_it_is_taken_once(self) -> None:
        add()
        assert len(take()) == 1
        assert take() == []

    def test_only_of_the_queue_that_was_asked_for(self) -> None:
        add(queue="mail")
        reports = add(queue="reports")
        assert take(queue="reports") == [reports]

    def test_no_more_than_the_limit(self) -> None:
        ids = [add() for _ in range(5)]
        assert take(3) == ids[:3]
        assert take(3) == ids[3:]

    def test_the_highest_priority_first_and_of_one_priority_the_oldest(self) -> None:
        ids = {(priority, nth): add(priority=priority) for nth in range(2) for priority in (0, 9, 4)}
        order = [ids[priority, nth] for priority in (9, 4, 0) for nth in range(2)]
        assert take(3) == order[:3]
        assert take() == order[3:]

    def test_of_one_priority_what_has_been_due_longest(self) -> None:
        add()
        oldest = add(countdown=-60)
        assert take(1) == [oldest]

    def test_not_before_its_time(self) -> None:
        id = add(countdown=60)
        assert take() == []
        let_pass(61)
        assert take() == [id]

    def test_the_time_until_it_counts_as_lost_doubles_up_to_a_bound(self) -> None:
        id = add()
        waits = []
        for _ in range(8):
            assert take() == [id]
            waits.append(seconds_from_now(id))
            ledger.release_lost("default", limit=0)
            let_pass(10_000)
            assert ledger.release_lost("default", limit=1) == 1
        assert waits == [approx(30 * 2**n) for n in (0, 1, 2, 3, 4, 5, 6, 6)]

    def test_a_published_one_is_left_to_release_lost(self) -> None:
        publish()
        let_pass(10_000)
        assert take() == []

    def test_a_lease_that_ended_is_due(self) -> None:
        claimed = start()
        assert take() == []
        let_pass(LEASE_SECONDS + 1)
        assert take() == [claimed.id]
        assert state(claimed.id) == State.PUBLISHED

    @pytest.mark.parametrize("how", FINISHED)
    def test_nothing_that_is_finished(self, how: str) -> None:
        finish(add(), how)
        let_pass(1_000_000)
        assert take() == []

    def test_a_lease_that_ended_with_the_last_attempt_is_dead(self) -> None:
        claimed = start(max_attempts=1)
        let_pass(LEASE_SECONDS + 1)
        assert take() == []
        message = row(claimed.id)
        assert (message.state, message.last_error) == (State.DEAD, ledger.SPENT)
        assert message.finished_at is not None

    def test_without_a_bound_of_attempts_it_is_tried_for_ever(self) -> None:
        id = publish(max_attempts=None)
        for attempt in range(1, 9):
            assert again(id).attempt == attempt
            let_pass(LEASE_SECONDS + 1)
            assert take() == [id]

    def test_what_expired_is_dead_instead(self) -> None:
        expired, fresh, timeless = add(expires=50), add(expires=500), add()
        let_pass(60)
        assert take() == [fresh, timeless]
        message = row(expired)
        assert (message.state, message.last_error) == (State.DEAD, ledger.EXPIRED)
        assert message.finished_at is not None
        assert row(fresh).finished_at is None

    @pytest.mark.parametrize("max_attempts", [None, 5])
    def test_an_attempt_that_was_killed_is_not_repeated_after_it_expired(self, max_attempts: int | None) -> None:
        claimed = start(expires=10, max_attempts=max_attempts)
        let_pass(LEASE_SECONDS + 1)
        assert take() == []
        assert (row(claimed.id).last_error, row(claimed.id).has_expired) == (ledger.EXPIRED, True)


class TestInFlight:
    def test_what_is_published_counts_and_what_is_late_counts_as_overdue(self) -> None:
        publish()
        let_pass(LOST_AFTER_SECONDS + 1)
        publish()
        publish(queue="other")
        start()
        add()
        assert ledger.count_in_flight("default") == ledger.InFlight(published=2, overdue=1)

    def test_an_empty_queue_has_none(self) -> None:
        assert ledger.count_in_flight("default") == ledger.InFlight(0, 0)

    def test_what_could_not_be_published_is_due_again(self) -> None:
        ids = [add(), add()]
        take()
        ledger.put_back(ids)
        assert take() == ids
        assert {row(id).publishes for id in ids} == {1}

    def test_putting_back_leaves_alone_what_a_worker_got_nonetheless(self) -> None:
        claimed = start()
        ledger.put_back([claimed.id])
        assert state(claimed.id) == State.RUNNING

    def test_it_is_due_since_when_it_was_before(self) -> None:
        """So it keeps its place among those that wait."""
        ids = [publish(countdown=-50), publish()]
        ledger.put_back(ids)
        assert [seconds_from_now(id) for id in ids] == [approx(-50), MOMENT]

    def test_what_the_broker_lost_is_due_since_when_it_was_before(self) -> None:
        id = publish(countdown=-50)
        let_pass(LOST_AFTER_SECONDS + 1)
        ledger.release_lost("default", limit=1)
        assert seconds_from_now(id) == approx(-50 - LOST_AFTER_SECONDS)

    def test_lost_are_the_overdue_that_were_published_longest_ago(self) -> None:
        old = publish()
        let_pass(10)
        newer = publish()
        let_pass(LOST_AFTER_SECONDS + 1)
        fresh = publish()
        assert ledger.release_lost("default", limit=1) == 1
        assert [state(id) for id in (old, newer, fresh)] == [State.PENDING, State.PUBLISHED, State.PUBLISHED]
        assert ledger.release_lost("default", limit=10) == 1
        assert take() == [old, newer]

    def test_those_of_another_queue_are_not_released(self) -> None:
        publish(queue="other")
        let_pass(LOST_AFTER_SECONDS + 1)
        assert ledger.release_lost("default", limit=10) == 0

    def test_overdue_ones_are_given_more_time(self) -> None:
        overdue, other = publish(), publish(queue="other")
        let_pass(LOST_AFTER_SECONDS + 1)
        fresh = publish()
        assert ledger.postpone_overdue("default", seconds=45) == 1
        assert seconds_from_now(overdue) == approx(45)
        assert seconds_from_now(fresh) == approx(LOST_AFTER_SECONDS)
        assert seconds_from_now(other) < 0
        assert state(overdue) == State.PUBLISHED

    def test_leases_are_extended_but_never_shortened(self) -> None:
        short, lapsed, waiting = start(), start(), publish()
        [long] = claim_all(publish(), lease_seconds=500)
        Message.objects.filter(pk=lapsed.id).update(due_at=datetime(2020, 1, 1, tzinfo=UTC))
        assert ledger.extend_leases(60) == 2
        assert [seconds_from_now(each.id) for each in (short, lapsed, long)] == [approx(60), approx(60), approx(500)]
        assert seconds_from_now(waiting) == approx(LOST_AFTER_SECONDS)

    def test_a_message_that_waits_unclaimed_for_too_long_is_noticed(self) -> None:
        publish()
        assert not ledger.waits_unclaimed("default", seconds=60)
        let_pass(61)
        assert ledger.waits_unclaimed("default", seconds=60)
        assert not ledger.waits_unclaimed("other", seconds=60)

    def test_neither_a_claimed_nor_a_pending_one_waits_unclaimed(self) -> None:
        start()
        add()
        let_pass(61)
        assert not ledger.waits_unclaimed("default", seconds=60)


class TestClaim:
    def test_it_takes_the_lease_and_gives_what_to_run(self) -> None:
        id = ledger.enqueue(TASK, [1], {"b": 2}, queue="default", max_attempts=5, headers={"trace": "7"})
        take()
        claimed = again(id)
        assert (claimed.id, claimed.attempt, claimed.retries, claimed.max_attempts) == (id, 1, 0, 5)
        assert claimed.decode() == ([1], {"b": 2}, {"trace": "7"})
        assert (state(id), row(id).attempts) == (State.RUNNING, 1)
        assert seconds_from_now(id) == approx(LEASE_SECONDS)

    def test_a_duplicate_delivery_gets_nothing(self) -> None:
        claimed = start()
        assert claim(claimed.id) is None
        assert row(claimed.id).attempts == 1

    @pytest.mark.parametrize("how", FINISHED)
    def test_a_late_delivery_of_a_finished_message_gets_nothing(self, how: str) -> None:
        id = add()
        finish(id, how)
        let_pass(1_000_000)
        assert claim(id) is None
        assert state(id) == how

    def test_a_forged_id_gets_nothing(self) -> None:
        assert claim(uuid4()) is None

    def test_it_says_who_holds_the_message_since_when(self) -> None:
        message = row(start().id)
        assert message.worker == WORKER
        assert [seconds_from_now(message.id, time) for time in ("claimed_at", "begun_at")] == [MOMENT, MOMENT]

    def test_many_are_claimed_in_one_statement(self) -> None:
        ids, waiting = [publish(number, queue="other") for number in range(5)], add(countdown=60)
        with CaptureQueriesContext(connection) as queries:
            claims = claim_all(*ids, waiting, uuid4())
        assert len(queries) == 1
        assert {each.id: each.decode()[0] for each in claims} == {id: [number] for number, id in enumerate(ids)}
        assert {(each.task, each.queue) for each in claims} == {(TASK, "other")}

    def test_asked_again_with_its_token_it_gives_the_same_answer(self) -> None:
        """As it happens when the database goes away after it committed and before it answered."""
        ids, token = [publish(), publish()], uuid4()
        first = claim_all(*ids, token=token)
        let_pass(5)
        assert claim_all(*ids, token=token) == first
        assert {row(id).attempts for id in ids} == {0}
        assert seconds_from_now(ids[0]) == approx(LEASE_SECONDS)

    def test_so_it_does_with_a_last_attempt_that_counts_already(self) -> None:
        id, token = publish(max_attempts=1), uuid4()
        first = claim_all(id, token=token, counts=True)
        assert claim_all(id, token=token, counts=True) == first
        assert (first[0].attempt, first[0].retries) == (row(id).attempts, 0) == (1, 0)
        assert row(id).history == ""

    @pytest.mark.parametrize("counts", [True, False])
    def test_so_it_does_whatever_has_passed_since(self, counts: bool) -> None:
        id, token = publish(expires=10), uuid4()
        first = claim_all(id, token=token, counts=counts)
        let_pass(11)
        ledger.pause("queue", "default", by="ada")
        assert claim_all(id, token=token, counts=counts) == first

    def test_what_counts_from_its_claim_does_not_if_it_is_given_back(self) -> None:
        claims = claim_all(publish(max_attempts=1), publish(max_attempts=1), counts=True)
        ledger.release(claims[:1], counted=True)
        refuse(claims[1])
        let_pass(61)
        assert [row(each.id).attempts for each in claims] == [0, 0]
        assert len(claim_all(*[each.id for each in claims], counts=True)) == 2

    def test_with_its_token_it_does_not_take_back_what_another_one_claimed(self) -> None:
        id, token = publish(), uuid4()
        claim_all(id, token=token)
        let_pass(LEASE_SECONDS + 1)
        assert claim(id)
        assert claim_all(id, token=token) == []

    def test_what_was_claimed_and_not_begun_has_used_no_attempt(self) -> None:
        id = publish(max_attempts=1)
        for _ in range(3):
            [claimed] = claim_all(id)
            assert (claimed.attempt, claimed.retries) == (1, 0)
            assert (row(id).attempts, row(id).begun_at) == (0, None)
            let_pass(LEASE_SECONDS + 1)
            assert take() == [id]

    @pytest.mark.parametrize(("kind", "name"), [("queue", "default"), ("task", TASK)])
    def test_what_is_paused_is_not_claimed(self, kind: str, name: str) -> None:
        id, others = publish(), publish(queue="other", task="tests.other")
        Pause.objects.create(kind=kind, name=name, by="ada")
        assert [each.id for each in claim_all(id, others)] == [others]
        Pause.objects.all().delete()
        assert claim(id)

    def test_a_stale_copy_cannot_bring_an_eta_forward(self) -> None:
        id = add(countdown=60)
        assert claim(id) is None
        let_pass(61)
        assert claim(id)

    def test_a_stale_copy_cannot_bring_a_retry_forward(self) -> None:
        claimed = start()
        ledger.retry(claimed, error=ERROR, countdown=60)
        assert claim(claimed.id) is None
        let_pass(61)
        assert again(claimed.id).attempt == 2

    def test_a_message_that_was_put_back_may_have_arrived_after_all(self) -> None:
        id = publish()
        ledger.put_back([id])
        assert claim(id)

    def test_a_published_message_may_arrive_late(self) -> None:
        id = publish()
        let_pass(10_000)
        assert claim(id)

    def test_a_lease_that_ended_may_be_taken_over(self) -> None:
        first = start()
        let_pass(LEASE_SECONDS + 1)
        second = again(first.id)
        assert (second.attempt, second.retries) == (2, 1)

    def test_an_expired_message_is_not_begun(self) -> None:
        id = publish(expires=10)
        let_pass(11)
        assert claim(id) is None
        let_pass(LOST_AFTER_SECONDS)
        ledger.release_lost("default", limit=1)
        assert take() == []
        assert row(id).last_error == ledger.EXPIRED

    def test_there_is_no_attempt_after_the_last(self) -> None:
        claimed = start(max_attempts=1)
        let_pass(LEASE_SECONDS + 1)
        assert claim(claimed.id) is None

    def test_arguments_of_a_type_that_nobody_registered_are_the_tasks_failure(self) -> None:
        claimed = start({"__type__": "mystery", "__value__": 1})
        with pytest.raises(ValueError, match="Unsupported type"):
            claimed.decode()


class TestBegin:
    def test_from_then_on_the_attempt_counts(self) -> None:
        claims = claim_all(publish(), publish())
        ledger.begin(claims, lease_seconds=LEASE_SECONDS)
        for each in claims:
            assert row(each.id).attempts == each.attempt == 1
            assert seconds_from_now(each.id, "begun_at") == MOMENT

    def test_it_counts_once(self) -> None:
        claims = claim_all(publish())
        for _ in range(3):
            ledger.begin(claims, lease_seconds=LEASE_SECONDS)
        assert row(claims[0].id).attempts == 1

    def test_the_lease_begins_anew(self) -> None:
        claims = claim_all(publish())
        let_pass(15)
        ledger.begin(claims, lease_seconds=LEASE_SECONDS)
        assert seconds_from_now(claims[0].id) == approx(LEASE_SECONDS)

    def test_who_lost_the_lease_begins_nothing(self) -> None:
        [lost] = claim_all(publish())
        let_pass(LEASE_SECONDS + 1)
        claim_all(lost.id)
        ledger.begin([lost], lease_seconds=LEASE_SECONDS)
        assert (row(lost.id).attempts, row(lost.id).begun_at) == (0, None)

    def test_one_that_was_published_meanwhile_is_taken_back(self) -> None:
        """Its only attempt is made: published and out of attempts it could never be claimed, nor ever be dead."""
        [claimed] = claim_all(publish(max_attempts=1))
        let_pass(LEASE_SECONDS + 1)
        take()
        ledger.begin([claimed], lease_seconds=LEASE_SECONDS)
        assert state(claimed.id) == State.RUNNING
        let_pass(LEASE_SECONDS + 1)
        assert take() == []
        assert (state(claimed.id), row(claimed.id).last_error) == (State.DEAD, ledger.SPENT)

    def test_who_settles_before_it_was_recorded_has_used_an_attempt_too(self) -> None:
        done, failed, retried = claim_all(publish(), publish(), publish())
        ledger.complete_all([done], [3])
        ledger.fail(failed, error=ERROR, seconds=3)
        ledger.retry(retried, error=ERROR, seconds=3)
        for each in (done, failed, retried):
            assert row(each.id).attempts == 1
            assert seconds_from_now(each.id, "begun_at") == pytest.approx(-3, abs=2)


class TestRelease:
    def test_it_is_due_since_when_it_was_and_has_used_no_attempt(self) -> None:
        claims = claim_all(publish(countdown=-50), publish())
        ledger.release(claims)
        for each, since in zip(claims, (-50, 0), strict=True):
            message = row(each.id)
            assert (message.state, message.attempts, message.lease, message.publishes) == (State.PENDING, 0, None, 0)
            assert seconds_from_now(each.id) == approx(since)
        assert take() == [each.id for each in claims]

    def test_who_lost_the_lease_releases_nothing(self) -> None:
        [lost] = claim_all(publish())
        let_pass(LEASE_SECONDS + 1)
        claim_all(lost.id)
        ledger.release([lost])
        assert state(lost.id) == State.RUNNING

    def test_and_settles_nothing_afterwards(self) -> None:
        claims = claim_all(publish())
        ledger.release(claims)
        ledger.begin(claims, lease_seconds=LEASE_SECONDS)
        assert ledger.renew(claims, lease_seconds=LEASE_SECONDS) == ledger.complete_all(claims, [0]) == set()
        assert state(claims[0].id) == State.PENDING

    def test_what_has_begun_is_not_given_back(self) -> None:
        claimed = start(max_attempts=1)
        ledger.release([claimed])
        assert (state(claimed.id), row(claimed.id).attempts) == (State.RUNNING, 1)


DAYS = 86_400.0


class TestRefuse:
    def test_it_waits_for_another_worker_and_says_who_refused_it(self) -> None:
        [claimed, other] = claim_all(publish(), publish())
        refuse(claimed, other, reason="is unknown \x00")
        message = row(claimed.id)
        assert (message.state, message.attempts, message.lease) == (State.PENDING, 0, None)
        assert message.last_error == f"Refused by {WORKER}: is unknown \\x00"
        assert 0 < seconds_from_now(claimed.id) <= 0.5
        assert state(other.id) == State.PENDING

    @pytest.mark.parametrize(("seconds", "pause_seconds"), [(1, 0.5), (10, 2), (1000, 10)])
    def test_it_waits_for_longer_the_longer_it_has_been_refused(self, seconds: float, pause_seconds: float) -> None:
        id = publish()
        refuse(*claim_all(id))
        let_pass(seconds)
        refuse(*claim_all(id))
        assert seconds_from_now(id) == pytest.approx(pause_seconds, abs=0.4)

    def test_an_attempt_that_had_begun_is_not_counted(self) -> None:
        """The pool begins it before it finds that it cannot decode the arguments."""
        claimed = start(max_attempts=1)
        refuse(claimed)
        assert (row(claimed.id).attempts, row(claimed.id).begun_at) == (0, None)
        let_pass(61)
        assert claim(claimed.id)

    def test_when_every_worker_has_refused_it_for_days_it_is_dead(self) -> None:
        id = publish()
        for day in range(3):
            refuse(*claim_all(id), give_up_days=1.5)
            assert state(id) == (State.DEAD if day == 2 else State.PENDING)
            let_pass(DAYS)
        message = row(id)
        assert message.last_error.startswith("Refused by")
        assert message.finished_at is not None

    def test_the_days_begin_anew_once_a_worker_has_taken_it(self) -> None:
        id = publish()
        refuse(*claim_all(id), give_up_days=1.5)
        let_pass(DAYS)
        ledger.retry(again(id), error=ERROR)
        let_pass(DAYS)
        refuse(*claim_all(id), give_up_days=1.5)
        assert state(id) == State.PENDING

    def test_who_lost_the_lease_refuses_nothing(self) -> None:
        [lost] = claim_all(publish())
        let_pass(LEASE_SECONDS + 1)
        claim_all(lost.id)
        refuse(lost)
        assert (state(lost.id), row(lost.id).last_error) == (State.RUNNING, "")


class TestExplain:
    def test_each_gets_its_answer(self) -> None:
        running, done, waiting, late, unknown = start().id, add(), add(countdown=60), publish(expires=10), uuid4()
        finish(done, State.DONE)
        let_pass(11)
        assert ledger.explain([running, done, waiting, late, unknown]) == {
            running: Answer.DUPLICATE,
            done: Answer.DUPLICATE,
            waiting: Answer.DUPLICATE,
            late: Answer.EXPIRED,
            unknown: Answer.UNKNOWN,
        }
        assert [state(id) for id in (running, done, waiting)] == [State.RUNNING, State.DONE, State.PENDING]

    def test_what_has_expired_is_dead_at_once(self) -> None:
        id = publish(expires=10)
        let_pass(11)
        for _ in range(2):
            assert ledger.explain([id]) == {id: Answer.EXPIRED}
        message = row(id)
        assert (message.state, message.last_error, message.has_expired) == (State.DEAD, ledger.EXPIRED, True)
        assert seconds_from_now(id, "finished_at") == MOMENT

    def test_an_attempt_that_runs_may_end_after_the_expiry(self) -> None:
        claimed = start(expires=10)
        let_pass(11)
        assert ledger.explain([claimed.id]) == {claimed.id: Answer.DUPLICATE}
        assert ledger.complete(claimed)

    def test_what_is_paused_waits_again_since_when_it_did(self) -> None:
        id = publish(countdown=-50)
        Pause.objects.create(kind=Pause.Kind.TASK, name=TASK, by="ada")
        assert ledger.explain([id]) == {id: Answer.DUPLICATE}
        assert (state(id), row(id).publishes) == (State.PENDING, 0)
        assert seconds_from_now(id) == approx(-50)

    def test_what_is_not_paused_stays_published(self) -> None:
        id = publish()
        Pause.objects.create(kind=Pause.Kind.TASK, name="tests.other", by="ada")
        assert ledger.explain([id]) == {id: Answer.DUPLICATE}
        assert state(id) == State.PUBLISHED


class TestNothing:
    """Whoever asks about no message is answered."""

    def test_nothing_is_an_answer(self) -> None:
        with CaptureQueriesContext(connection) as queries:
            assert claim_all() == []
            assert ledger.explain([]) == {}
            assert ledger.renew([], lease_seconds=1) == ledger.complete_all([], []) == set()
            ledger.refuse([], [], worker=WORKER, give_up_days=1)
            ledger.begin([], lease_seconds=1)
            ledger.release([])
            ledger.put_back([])
            assert ledger.replay([], by="ada") == ledger.discard([], by="ada") == 0
        assert list(queries) == []


class TestRenew:
    def test_it_extends_the_lease(self) -> None:
        claimed = start()
        let_pass(15)
        assert ledger.renew([claimed], lease_seconds=LEASE_SECONDS) == {claimed.id}
        assert seconds_from_now(claimed.id) == approx(LEASE_SECONDS)

    def test_each_of_several_is_answered_for(self) -> None:
        claims = [start(), start(), start(), start()]
        ledger.complete(claims[0])
        ledger.retry(claims[1], error=ERROR)
        assert ledger.renew(claims, lease_seconds=LEASE_SECONDS) == {claims[2].id, claims[3].id}
        assert [state(each.id) for each in claims[:2]] == [State.DONE, State.PENDING]

    def test_the_holder_of_a_former_attempt_renews_nothing(self) -> None:
        first = start()
        let_pass(LEASE_SECONDS + 1)
        second = again(first.id)
        let_pass(10)
        assert ledger.renew([first], lease_seconds=500) == set()
        assert ledger.renew([second], lease_seconds=LEASE_SECONDS) == {second.id}

    def test_what_was_published_again_meanwhile_is_taken_back(self) -> None:
        claimed = start()
        let_pass(LEASE_SECONDS + 1)
        take()
        assert ledger.renew([claimed], lease_seconds=LEASE_SECONDS) == {claimed.id}
        assert claim(claimed.id) is None
        assert ledger.complete(claimed)

    @pytest.mark.parametrize("how", FINISHED)
    def test_what_is_finished_stays_so(self, how: str) -> None:
        claimed = start()
        Message.objects.filter(pk=claimed.id).update(state=how)
        assert ledger.renew([claimed], lease_seconds=LEASE_SECONDS) == set()
        assert state(claimed.id) == how


SETTLE: dict[str, Callable[[ledger.Claim], bool]] = {
    "complete": ledger.complete,
    "retry": lambda claim: ledger.retry(claim, error=ERROR),
    "fail": lambda claim: ledger.fail(claim, error=ERROR),
}


class TestSettle:
    def test_done_is_done(self) -> None:
        claimed = start()
        ledger.retry(claimed, error="once")
        second = again(claimed.id)
        assert ledger.complete(second)
        message = row(claimed.id)
        assert (message.state, message.last_error) == (State.DONE, "")
        assert seconds_from_now(message.id, "finished_at") == MOMENT

    def test_a_retry_is_due_later(self) -> None:
        claimed = start(max_attempts=3)
        assert ledger.retry(claimed, error=ERROR, countdown=75)
        message = row(claimed.id)
        assert (message.state, message.last_error, message.publishes) == (State.PENDING, ERROR, 0)
        assert message.finished_at is None
        assert seconds_from_now(message.id) == approx(75)

    def test_a_retry_may_name_the_moment(self) -> None:
        claimed = start()
        eta = datetime(2031, 5, 6, tzinfo=UTC)
        ledger.retry(claimed, error=ERROR, eta=eta)
        assert row(claimed.id).due_at == eta

    def test_a_retry_of_the_last_attempt_is_dead(self) -> None:
        claimed = start(max_attempts=1)
        assert ledger.retry(claimed, error=ERROR, countdown=75)
        message = row(claimed.id)
        assert (message.state, message.last_error) == (State.DEAD, ERROR)
        assert message.finished_at is not None

    def test_without_a_bound_of_attempts_no_retry_is_the_last(self) -> None:
        claimed = start(max_attempts=None)
        for _ in range(70):
            assert ledger.retry(claimed, error=ERROR)
            claimed = again(claimed.id)
        assert claimed.attempt == 71

    def test_a_retry_may_allow_more_attempts_than_the_message_did(self) -> None:
        claimed = start(max_attempts=1)
        ledger.retry(claimed, error=ERROR, max_attempts=3)
        claimed = again(claimed.id)
        assert claimed.max_attempts == 3
        let_pass(LEASE_SECONDS + 1)
        assert take() == [claimed.id]

    @pytest.mark.parametrize("max_attempts", [5, None])
    def test_but_never_fewer(self, max_attempts: int | None) -> None:
        claimed = start(max_attempts=max_attempts)
        ledger.retry(claimed, error=ERROR, max_attempts=2)
        assert again(claimed.id).max_attempts == max_attempts

    def test_a_buried_one_is_dead_at_once(self) -> None:
        claimed = start(max_attempts=None)
        assert ledger.fail(claimed, error=ERROR)
        message = row(claimed.id)
        assert (message.state, message.last_error) == (State.DEAD, ERROR)
        assert seconds_from_now(message.id, "finished_at") == MOMENT

    @pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)
    def test_the_holder_of_a_former_attempt_settles_nothing(self, settle: Callable[[ledger.Claim], bool]) -> None:
        first = start()
        let_pass(LEASE_SECONDS + 1)
        second = again(first.id)
        before = row(first.id)
        assert settle(first) is False
        after = row(first.id)
        assert (after.state, after.due_at, after.finished_at) == (State.RUNNING, before.due_at, None)
        assert settle(second) is True

    @pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)
    def test_the_holder_may_settle_late_if_nobody_began_another_attempt(
        self, settle: Callable[[ledger.Claim], bool]
    ) -> None:
        claimed = start()
        let_pass(LEASE_SECONDS + 1)
        take()
        assert settle(claimed)

    @pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)
    def test_settling_twice_is_like_settling_once(self, settle: Callable[[ledger.Claim], bool]) -> None:
        """As it happens when the database goes away after it committed and before it answered."""
        claimed = start()
        settle(claimed)
        before = row(claimed.id)
        settle(claimed)
        after = row(claimed.id)
        assert (after.state, after.attempts, after.last_error) == (before.state, before.attempts, before.last_error)

    def test_completing_twice_is_true_twice(self) -> None:
        claimed = start()
        assert ledger.complete(claimed)
        assert ledger.complete(claimed)

    @pytest.mark.parametrize("settle", [SETTLE["retry"], SETTLE["fail"]], ids=["retry", "fail"])
    @pytest.mark.parametrize("how", FINISHED)
    def test_a_finished_message_does_not_fail_any_more(self, how: str, settle: Callable[[ledger.Claim], bool]) -> None:
        claimed = start()
        let_pass(LEASE_SECONDS + 1)
        Message.objects.filter(pk=claimed.id).update(state=how, finished_at=datetime.now(UTC))
        assert settle(claimed) is False
        assert state(claimed.id) == how

    def test_who_was_thought_killed_and_reports_success_is_believed(self) -> None:
        claimed = start(max_attempts=1)
        let_pass(LEASE_SECONDS + 1)
        take()
        assert state(claimed.id) == State.DEAD
        assert ledger.complete(claimed)
        assert (state(claimed.id), row(claimed.id).last_error) == (State.DONE, "")

    @pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)
    def test_what_someone_discarded_stays_so(self, settle: Callable[[ledger.Claim], bool]) -> None:
        claimed = start()
        let_pass(LEASE_SECONDS + 1)
        take()
        ledger.discard([claimed.id], by="ada")
        assert settle(claimed) is False
        assert state(claimed.id) == State.DISCARDED

    @pytest.mark.parametrize("settle", SETTLE.values(), ids=SETTLE)
    def test_what_someone_replayed_runs_again_however_the_old_attempt_ends(
        self, settle: Callable[[ledger.Claim], bool]
    ) -> None:
        claimed = start(max_attempts=1)
        let_pass(LEASE_SECONDS + 1)
        take()
        ledger.replay([claimed.id], by="ada")
        assert ledger.renew([claimed], lease_seconds=LEASE_SECONDS) == set()
        assert settle(claimed) is False
        assert (again(claimed.id).retries, row(claimed.id).max_attempts) == (0, 1)

    def test_many_are_done_in_one_statement(self) -> None:
        claims = [start() for _ in range(5)]
        let_pass(LEASE_SECONDS + 1)
        again(claims[0].id)
        with CaptureQueriesContext(connection) as queries:
            done = ledger.complete_all(claims, [1] * 5)
        assert len(queries) == 1
        assert done == {each.id for each in claims[1:]}
        assert [state(each.id) for each in claims] == [State.RUNNING] + [State.DONE] * 4

    def test_what_was_cut_short_is_tried_again_at_once_and_then_after_ever_longer_pauses(self) -> None:
        id, pauses = add(max_attempts=10), []
        for _ in range(8):
            let_pass(1000)
            take()
            assert ledger.cut_short(again(id), error="It was killed.")
            pauses.append(round(seconds_from_now(id)))
        assert pauses == pytest.approx([0, 2, 4, 8, 16, 32, 60, 60], abs=2)
        assert row(id).last_error == "It was killed."

    def test_what_was_cut_short_in_its_last_attempt_is_dead(self) -> None:
        claimed = start(max_attempts=1)
        assert ledger.cut_short(claimed, error="It was killed.")
        assert (state(claimed.id), row(claimed.id).last_error) == (State.DEAD, f"It was killed. {ledger.SPENT}")

    def test_each_attempt_that_failed_leaves_a_line(self) -> None:
        id = publish(max_attempts=3)
        ledger.retry(again(id), error=ERROR, seconds=1.26)
        take()
        ledger.cut_short(again(id), error="It was killed: \x00.")
        let_pass(100)
        take()
        ledger.fail(again(id), error=f"Traceback ...\nValueError: {'x' * 1000}")
        when, lines = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC ", row(id).history.splitlines()
        assert re.fullmatch(f"{when}attempt 1 failed after 1\\.3 s: ValueError: no", lines[0])
        assert re.fullmatch(f"{when}attempt 2 failed after 0\\.0 s: It was killed: \\\\x00\\.", lines[1])
        assert re.fullmatch(f"{when}attempt 3 failed after 0\\.0 s: x+", lines[2])
        assert len(lines[2]) < 300

    @pytest.mark.parametrize("relay_sees_it", [True, False])
    def test_so_does_one_whose_lease_ended(self, relay_sees_it: bool) -> None:
        first = start()
        let_pass(LEASE_SECONDS + 1)
        if relay_sees_it:
            take()
        again(first.id)
        [line] = row(first.id).history.splitlines()
        assert line.endswith(f" UTC attempt 1 lost: the lease of {WORKER} ended")

    def test_what_was_never_begun_leaves_none(self) -> None:
        [lost] = claim_all(publish())
        let_pass(LEASE_SECONDS + 1)
        claim_all(lost.id)
        assert row(lost.id).history == ""

    def test_success_of_what_was_thought_lost_and_expired_meanwhile_is_one_attempt(self) -> None:
        claimed = start(expires=10)
        let_pass(LEASE_SECONDS + 1)
        assert take() == []
        assert ledger.complete(claimed)
        assert (state(claimed.id), row(claimed.id).attempts) == (State.DONE, 1)

    def test_of_attempts_that_were_lost_again_and_again_the_last_are_told(self) -> None:
        id = add(max_attempts=None)
        Message.objects.filter(pk=id).update(history="x" * 10_000)
        take()
        again(id)
        let_pass(LEASE_SECONDS + 1)
        take()
        assert len(row(id).history) == 10_000
        assert row(id).history.endswith("attempt 1 lost: the lease of celery@tests ended\n")

    def test_of_a_long_history_the_end_is_kept(self) -> None:
        claimed = start(max_attempts=None)
        for number in range(100):
            ledger.retry(claimed, error=f"{number} {'x' * 250}")
            claimed = again(claimed.id)
        ledger.fail(claimed, error="the last")
        assert len(row(claimed.id).history) <= 10_000
        assert row(claimed.id).history.endswith("the last\n")

    @pytest.mark.parametrize("settle", [ledger.retry, ledger.fail])
    def test_an_error_may_quote_anything(self, settle: Callable[..., bool]) -> None:
        claimed = start()
        assert settle(claimed, error="the server said \x00\ud83c\xff Grüße")
        assert row(claimed.id).last_error == "the server said \\x00\\ud83c\xff Grüße"

    def test_of_a_very_long_error_the_end_is_kept(self) -> None:
        claimed = start()
        ledger.fail(claimed, error="x" * 5_000_000 + "\nValueError: no")
        kept = row(claimed.id).last_error
        assert len(kept) == ledger.ERROR_CHARACTERS
        assert kept.endswith("x\nValueError: no")


class TestPeople:
    def test_a_replayed_message_is_due_now_and_says_who_did_it(self) -> None:
        id = die()
        assert ledger.replay([id], by="ada") == 1
        message = row(id)
        assert (message.state, message.finished_at, message.publishes) == (State.PENDING, None, 0)
        *_, note = message.history.splitlines(keepends=True)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC replayed by ada\n", note)
        assert take() == [id]

    def test_a_replay_gives_the_same_number_of_attempts_every_time(self) -> None:
        claimed = start(max_attempts=2)
        for replays in range(1, 4):
            assert claimed.retries == 0
            assert ledger.retry(claimed, error=ERROR)
            claimed = again(claimed.id)
            assert (claimed.attempt, claimed.retries) == (2 * replays, 1)
            assert ledger.retry(claimed, error=ERROR)
            assert state(claimed.id) == State.DEAD
            ledger.replay([claimed.id], by="ada")
            claimed = again(claimed.id)
        lines = row(claimed.id).history.splitlines()
        assert [line.partition(" UTC ")[2].partition(" after")[0] for line in lines] == [
            line
            for replay in range(3)
            for line in (f"attempt {2 * replay + 1} failed", f"attempt {2 * replay + 2} failed", "replayed by ada")
        ]

    def test_a_replay_lifts_the_expiry(self) -> None:
        id = add(expires=10)
        let_pass(11)
        take()
        assert row(id).last_error == ledger.EXPIRED
        ledger.replay([id], by="ada")
        assert take() == [id]
        assert claim(id)

    def test_only_dead_messages_are_replayed(self) -> None:
        done, discarded = add(), add()
        finish(done, State.DONE)
        finish(discarded, State.DISCARDED)
        running, published, pending = start().id, publish(), add()
        dead = [die(), die()]
        everything = [done, discarded, running, published, pending, *dead, uuid4()]
        assert ledger.replay(everything, by="ada") == 2
        assert {state(id) for id in dead} == {State.PENDING}
        assert [state(id) for id in (done, running, published)] == [State.DONE, State.RUNNING, State.PUBLISHED]

    def test_a_discarded_message_is_never_run(self) -> None:
        id = publish()
        assert ledger.discard([id], by="ada") == 1
        assert claim(id) is None
        message = row(id)
        assert message.state == State.DISCARDED
        assert message.finished_at is not None
        assert message.history.endswith("UTC discarded by ada\n")

    def test_what_a_worker_runs_and_what_is_done_is_not_discarded(self) -> None:
        done = add()
        finish(done, State.DONE)
        running = start().id
        rest = [die(), publish(), add()]
        assert ledger.discard([done, running, *rest], by="ada") == 3
        assert [state(done), state(running)] == [State.DONE, State.RUNNING]

    def test_republishing_makes_all_that_the_broker_was_given_due(self) -> None:
        ids = [publish(), publish(queue="other")]
        later, running = add(countdown=60), start()
        assert ledger.republish(by="me") == 2
        assert [*take(), *take(queue="other")] == ids
        assert (state(later), state(running.id)) == (State.PENDING, State.RUNNING)

    def test_what_finished_long_ago_is_pruned_in_chunks(self) -> None:
        for how in (State.DONE, State.DISCARDED, State.DONE):
            finish(add(), how)
        let_pass(8 * 86_400)
        recent = add()
        finish(recent, State.DONE)
        assert [ledger.prune(keep_days=7, limit=2) for _ in range(3)] == [2, 1, 0]
        assert list(Message.objects.values_list("pk", flat=True)) == [recent]

    def test_neither_the_dead_nor_the_unfinished_are_pruned(self) -> None:
        dead, waiting, running = die(), add(), start()
        let_pass(1000 * 86_400)
        assert ledger.prune(keep_days=0, limit=100) == 0
        assert Message.objects.filter(pk__in=[dead, waiting, running.id]).count() == 3


class TestClock:
    def test_no_statement_is_told_the_time_by_this_host(self) -> None:
        statements: list[str] = []

        def record(execute: Callable[..., Any], sql: str, params: Any, *context: Any) -> Any:
            statements.append(f"{sql} {params}")
            return execute(sql, params, *context)

        with connection.execute_wrapper(record):
            id = add(countdown=1, expires=9)
            take()
            claim(id)
            ledger.renew([start()], lease_seconds=1)
            ledger.retry(start(), error=ERROR, countdown=3)
            ledger.cut_short(start(), error=ERROR, seconds=3)
            ledger.complete(start(), seconds=3)
            ledger.fail(start(), error=ERROR)
            ledger.replay([die()], by="ada")
            ledger.discard([die()], by="ada")
            ledger.republish(by="ada")
            ledger.refuse([start()], ["no"], worker=WORKER, give_up_days=1)
            ledger.release(claim_all(publish()))
            ledger.explain([id])
            ledger.put_back([id])
            ledger.count_in_flight("default")
            ledger.release_lost("default", limit=1)
            ledger.postpone_overdue("default", seconds=1)
            ledger.extend_leases(1)
            ledger.prune(keep_days=1, limit=1)
            ledger.waits_unclaimed("default", seconds=1)
        assert len(statements) > 50
        told = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:|datetime")
        assert [each for each in statements if told.search(each)] == []


# SQLite is a file: it does not go away.
@pytest.mark.databases("postgresql")
@pytest.mark.django_db(transaction=True)
class TestDatabaseAway:
    def test_a_statement_on_a_connection_that_was_cut_is_not_repeated(self) -> None:
        """Nobody but its caller knows whether it may run twice."""
        claimed = start()
        cut_connection()
        with pytest.raises(OperationalError):
            ledger.complete(claimed)
        connection.close()
        assert ledger.complete(claimed)

    def test_inside_a_transaction_nothing_is_repeated(self) -> None:
        with pytest.raises(OperationalError), transaction.atomic():
            enqueue_cut_and_claim()
        connection.close()
        assert not Message.objects.exists()


def enqueue_cut_and_claim() -> None:
    first = add()
    cut_connection()
    claim(first)


def cut_connection() -> None:
    [(pid,)] = sql.query("SELECT pg_backend_pid()", [])
    run_in_thread(lambda: sql.query("SELECT pg_terminate_backend(%s)", [pid]))


def run_in_thread(function: Callable[[], Any]) -> None:
    def run() -> None:
        function()
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
