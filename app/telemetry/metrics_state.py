"""The state of outbox, broker and processes as gauges. It is read when Prometheus scrapes, at most every 5 s.

A frozen broker or database does not delay a scrape for long: gauges that cannot be read in time are left out. An alert
on their absence, or on `anybroker_broker_up`, reports this.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.db import Error, connection
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from brokers import BrokerError, Depth
from console.latest import Latest
from console.overview import State, describe_status

#: How often we ask at most, how old an answer may be, and how long a scrape waits for a new one.
EVERY_SECONDS, STALE_SECONDS, WAIT_SECONDS = 5, 15, 2

Gauges = Iterator[GaugeMetricFamily]
Values = Sequence[tuple[list[str], float]]


def ask_ledger() -> dict[str, Any] | None:
    try:
        return describe_status()
    except Error:
        return None
    finally:
        connection.close()


def ask_broker() -> dict[str, Depth] | None:
    """Return how many messages the broker holds, by queue; None if it does not answer."""
    try:
        return {queue: settings.BROKER_PROFILE.depth(queue) for queue in settings.SERVICE.queues}
    except BrokerError:
        return None


class StateCollector(Collector):
    def __init__(self) -> None:
        times = {"every_seconds": EVERY_SECONDS, "stale_seconds": STALE_SECONDS}
        self._ledger = Latest(ask_ledger, **times)
        self._broker = Latest(ask_broker, **times)

    def collect(self) -> Gauges:
        status = self._ledger.get(within_seconds=WAIT_SECONDS)
        depths = self._broker.get(within_seconds=WAIT_SECONDS)
        yield gauge("database_up", "Whether the database answers.", [], [([], status is not None)])
        yield gauge("broker_up", "Whether the broker answers.", [], [([], depths is not None)])
        if status is not None:
            yield from describe_outbox(status)
        if depths is not None:
            yield from describe_broker(depths)


def describe_outbox(status: dict[str, Any]) -> Gauges:
    queues, processes = status["queues"], status["processes"]
    counts = [([row["queue"], state], row[state]) for row in queues for state in State.values]
    yield gauge("outbox_messages", "Messages by queue and state.", ["queue", "state"], counts)
    lags = [([row["queue"]], row["lag_seconds"] or 0) for row in queues]
    yield gauge("outbox_lag_seconds", "How long the oldest message that could run has waited.", ["queue"], lags)
    due = [([row["queue"]], row["due"]) for row in queues]
    yield gauge("outbox_due", "Messages that the relay should publish now.", ["queue"], due)
    yield gauge("outbox_poison", "Messages that nobody could read.", [], [([], status["poison"])])
    refused = [([row["queue"]], row["refused"]) for row in queues]
    yield gauge("outbox_refused", "Messages that wait because workers have refused them.", ["queue"], refused)
    paused = [([each["kind"], each["name"]], 1) for each in status["pauses"]]
    yield gauge("paused", "1 for each queue and task that is paused.", ["kind", "name"], paused)
    ages = [([each["kind"], each["name"]], each["age_seconds"]) for each in processes]
    yield gauge("heartbeat_age_seconds", "Since the last heartbeat of each process alive.", ["kind", "name"], ages)
    kinds = [([kind], sum(each["kind"] == kind for each in processes)) for kind in ("relay", "worker", "beat")]
    yield gauge("processes", "Processes alive.", ["kind"], kinds)


def describe_broker(depths: dict[str, Depth]) -> Gauges:
    counts: Values = [([queue, "waiting"], depth.waiting) for queue, depth in depths.items()]
    held: Values = [
        ([queue, "unacknowledged"], depth.unacknowledged)
        for queue, depth in depths.items()
        if depth.unacknowledged is not None
    ]
    yield gauge("broker_messages", "Messages at the broker.", ["queue", "state"], [*counts, *held])


def gauge(name: str, text: str, labels: list[str], values: Values) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"anybroker_{name}", text, labels=labels)
    for value in values:
        family.add_metric(*value)
    return family
