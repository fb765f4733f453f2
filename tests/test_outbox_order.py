"""What is published first: by priority, by age, and from the part of the window that is kept for what is urgent."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from django.conf import settings

from brokers.wire import TaskMessage
from console.overview import count_unfinished
from outbox import ledger
from settings.outbox import OutboxSettings
from tests.outbox_rows import LEASE_SECONDS, QUEUE, add, let_pass, publish, start, take
from workers.relaying.lane import Lane

pytestmark = pytest.mark.django_db

AGEING_SECONDS = ledger.AGEING_SECONDS


class FakeProfile:
    """Takes whatever it is given: where it goes is not what these tests are about."""

    def __init__(self) -> None:
        self.published: list[UUID] = []

    def prepare(self, queues: Sequence[str]) -> None: ...

    def publish(self, queue: str, messages: Sequence[TaskMessage]) -> None:
        self.published += [message.id for message in messages]


@pytest.fixture
def lane() -> Lane:
    return new_lane()


def new_lane(**options: int) -> Lane:
    outbox: OutboxSettings = settings.OUTBOX
    chosen = outbox.model_copy(update={"max_in_flight": 20, "batch_size": 10, **options})
    return Lane(QUEUE, FakeProfile(), chosen)  # type: ignore[arg-type]


class TestAge:
    def test_what_has_waited_for_the_ageing_time_moves_up_a_level(self) -> None:
        old = add(countdown=-AGEING_SECONDS - 5)
        middle = add(priority=1)
        young = add(countdown=-AGEING_SECONDS + 5)
        assert take(1) == [old]
        assert take() == [middle, young]

    def test_the_lowest_overtakes_the_highest_after_nine_times_the_ageing_time(self) -> None:
        urgent = add(priority=9)
        ten_minutes_old = add(countdown=-10 * AGEING_SECONDS)
        eight_minutes_old = add(countdown=-8 * AGEING_SECONDS)
        assert take() == [ten_minutes_old, urgent, eight_minutes_old]

    def test_a_stream_of_urgent_messages_starves_nobody(self) -> None:
        lowest = [add(countdown=-10 * AGEING_SECONDS) for _ in range(3)]
        urgent = [add(priority=9) for _ in range(30)]
        assert take(10) == lowest + urgent[:7]
        assert take(10) == urgent[7:17]

    def test_levels_that_are_merged_keep_their_own_order(self) -> None:
        ids = {(level, age): add(priority=level, countdown=-age) for age in (5, 60, 65, 120) for level in (0, 1, 2)}
        order = sorted(ids, key=lambda each: -each[1] - each[0] * AGEING_SECONDS)
        taken = take(6) + take(6)
        assert [_urgency(ids, id) for id in taken] == [each[1] + each[0] * AGEING_SECONDS for each in order]


def _urgency(ids: dict[tuple[int, int], UUID], id: UUID) -> float:
    [(level, age)] = [each for each, found in ids.items() if found == id]
    return age + level * AGEING_SECONDS


class TestWindow:
    def test_a_tenth_of_it_is_kept_for_what_is_urgent(self, lane: Lane) -> None:
        for _ in range(30):
            add(priority=4)
        assert [lane.look() for _ in range(3)] == [10, 8, 0]
        urgent = [add(priority=priority) for priority in (5, 9, 9)]
        assert lane.look() == 2
        assert set(published(lane)[-2:]) == set(urgent[1:])
        assert lane.look() == 0

    def test_what_is_urgent_does_not_wait_for_those_that_have_waited_longer(self, lane: Lane) -> None:
        for _ in range(50):
            add(countdown=-100 * AGEING_SECONDS)
        urgent = add(priority=9)
        assert lane.look() == 11
        assert urgent in published(lane)

    def test_what_is_urgent_may_have_all_of_it(self, lane: Lane) -> None:
        for _ in range(30):
            add(priority=9)
        assert sum(lane.look() for _ in range(4)) == 20

    def test_the_rest_is_not_kept_out_by_what_is_urgent(self, lane: Lane) -> None:
        for _ in range(2):
            publish(priority=9)
        for _ in range(30):
            add()
        assert sum(lane.look() for _ in range(4)) == 18

    def test_a_window_of_one_is_for_all(self) -> None:
        lane = new_lane(max_in_flight=1)
        add()
        assert lane.look() == 1
        add(priority=9)
        assert lane.look() == 0


def published(lane: Lane) -> list[UUID]:
    assert isinstance(lane.profile, FakeProfile)
    return lane.profile.published


def test_lag_counts_from_when_a_message_was_wanted() -> None:
    """What was put back, or published and lost, has waited since it was due first."""
    id = publish(countdown=-500)
    [row] = count_unfinished([QUEUE])
    assert row["worker_lag_seconds"] == pytest.approx(0, abs=5)
    assert row["lag_seconds"] == pytest.approx(500, abs=5)
    ledger.put_back([id])
    [row] = count_unfinished([QUEUE])
    assert row["relay_lag_seconds"] == row["lag_seconds"] == pytest.approx(500, abs=5)


def test_an_attempt_that_was_lost_has_waited_since_its_lease_ended() -> None:
    claimed = start(countdown=-500)
    let_pass(LEASE_SECONDS + 3)
    [row] = count_unfinished([QUEUE])
    assert row["relay_lag_seconds"] == pytest.approx(3, abs=2)
    assert take() == [claimed.id]
    [row] = count_unfinished([QUEUE])
    assert row["lag_seconds"] == pytest.approx(3, abs=2)
