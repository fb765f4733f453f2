"""A Celery consumer that survives what a broker may hand it.

    worker_consumer = "workers.consumer:Consumer"

Celery's own dies of a message without an id or with a body of another shape, and again after each restart, because
the message comes back. This one keeps such a message in the database, acknowledges it and goes on.
"""

import logging
import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from celery.concurrency import prefork
from celery.exceptions import CPendingDeprecationWarning, InvalidTaskError
from celery.signals import task_postrun, task_prerun, worker_process_init, worker_shutdown
from celery.worker import consumer as celery_consumer
from celery.worker.state import maybe_shutdown
from django.conf import settings
from django.db import close_old_connections
from kombu.message import Message as BrokerMessage

from brokers.library_errors import as_broker_error
from outbox import instruments, lease
from outbox.ledger import Claim
from workers import pool
from workers.admission import admit
from workers.bookkeeping.answers import Delivery
from workers.bookkeeping.bookkeeper import Bookkeeper
from workers.bookkeeping.terminated import Terminator
from workers.exits import end_process, end_soon
from workers.relaying.foreign import leave_to_others
from workers.requests import start
from workers.watchdog import Watchdog

logger = logging.getLogger(__name__)

pool.install()

# Celery announces a future default at every lost connection, although brokers/base.py sets the option.
warnings.filterwarnings("ignore", "\nIn Celery 5.1 we introduced", CPendingDeprecationWarning)

#: How often a worker changes how many messages it takes in advance, at most.
PREFETCH_SECONDS = 1.0

#: How long a worker that ends tries to settle what its tasks have done, while the database is away.
SETTLE_SECONDS = 60.0


@worker_process_init.connect
def leave_process_group(**_: Any) -> None:
    """Pool processes end when the worker tells them to, not when someone signals the worker's whole group.

    honcho, terminals and some supervisors do that, and Celery's pool processes would die of it in mid-task while the
    worker waits for them to finish.
    """
    os.setpgrp()


def look_after_connections() -> None:
    """Close what is old or broken around each task, as Django does around requests.

    Celery's own way is to close every connection each time (see CELERY_DB_REUSE_MAX).
    """
    task_prerun.connect(close_old_connections)
    task_postrun.connect(close_old_connections)


class Consumer(celery_consumer.Consumer):
    """Celery's consumer, minus what needs remote control, plus poison handling, heartbeat and watchdog."""

    connection_errors: tuple[type[Exception], ...]
    hub: Any
    qos: Any
    task_consumer: Any
    initial_prefetch_count: int

    class Blueprint(celery_consumer.Consumer.Blueprint):  # type: ignore[misc, valid-type]
        # It would declare 28 queues on RabbitMQ for delays, which we keep in the database.
        default_steps = [step for step in celery_consumer.Consumer.Blueprint.default_steps if "delayed" not in step]

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        # Workers do not talk to each other: that needs queues which SQS has not, and which can lock a
        # reconnecting worker out on RabbitMQ. The database knows who is alive.
        without = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
        kwargs["worker_options"] = {**(worker_options or {}), **without}
        super().__init__(*args, **kwargs)
        leave_to_others(self.app.amqp.queues)
        self.connection_number = 0
        self.prefetched_at = 0.0
        self.bookkeeper = Bookkeeper(
            self.hostname,
            self.pool.limit or 1,
            self._knows,
            self._answered,
            counts_at_once=not isinstance(self.pool, prefork.TaskPool),
            find_terminated=Terminator(self).look,
        )
        self.bookkeeper.start()
        lease.on_hang = self._on_hang
        self.watchdog = Watchdog(self)
        self.watchdog.start()
        worker_shutdown.connect(self._on_shutdown, weak=False)
        look_after_connections()
        instruments.started("worker")

    def _on_shutdown(self, **_: Any) -> None:
        """The pool is gone, and what it did is still to be settled."""
        self.bookkeeper.stop(within_seconds=SETTLE_SECONDS)
        self.watchdog.stop()

    def _on_hang(self, hanging: int) -> None:
        """A task cannot be stopped. A worker whose places are all taken by such tasks is of no use."""
        if hanging >= (self.pool.limit or 1):
            end_process(f"All {hanging} places of this worker are taken by tasks that hang")

    def start(self) -> None:
        """Celery's; an error that gets through it ends the worker, whatever the worker then waits for."""
        try:
            super().start()
        except Exception:
            end_soon("an error")
            raise

    def cancel_active_requests(self) -> None:
        """Celery's first step when the worker is told to stop at once; the later ones may wait for half a minute."""
        end_soon("SIGQUIT")
        super().cancel_active_requests()

    def ensure_connected(self, conn: Any) -> Any:
        """Celery's, for settings that always retry; it says which broker does not answer, and the cure."""

        def say(error: Exception, interval_seconds: float) -> None:
            problem = as_broker_error(error, settings.BROKER_PROFILE)
            logger.error("%s Trying again in %.0f s.", problem, interval_seconds)

        conn = conn.ensure_connection(say, self.app.conf.broker_connection_max_retries, callback=maybe_shutdown)
        self.first_connection_attempt = False
        return conn

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[BrokerMessage], Any]:
        """The handler of one delivered message, which lets no message end the worker."""
        handle = super().create_task_handler(*args, **kwargs)
        self.watchdog.heard()
        self.connection_number += 1
        # kombu counts KeyError among them on Redis: a worker would reconnect, be handed the message again, and so on.
        away: tuple[Any, ...] = (OSError, *(each for each in self.connection_errors if each is not KeyError))

        def on_task_received(message: BrokerMessage) -> None:
            self.watchdog.heard()
            try:
                id = admit(message, self.app.tasks)
                if id is None:
                    handle(message)
                else:
                    self.bookkeeper.deliver(Delivery(message, id, self.connection_number))
            except InvalidTaskError as error:
                self._put_aside(message, str(error))
            except Exception as error:
                if isinstance(error, away):
                    raise
                self._put_aside(message, f"{type(error).__name__}: {error}")

        return on_task_received

    def on_decode_error(self, message: BrokerMessage, exc: Exception) -> None:
        self._put_aside(message, f"cannot be decoded: {exc}")

    def on_invalid_task(self, body: Any, message: BrokerMessage, exc: Exception) -> None:
        self._put_aside(message, f"is not a valid task: {exc}")

    def _put_aside(self, message: BrokerMessage, reason: str) -> None:
        self.bookkeeper.deliver(Delivery(message, None, self.connection_number, reason))

    def on_close(self) -> None:
        """Celery's: the connection is lost or the worker stops, so nothing waits for a place any longer."""
        super().on_close()
        self.bookkeeper.release_waiting()

    def _knows(self, claim: Claim) -> str:
        """Why this worker cannot run a claim; an empty text if it can."""
        if not getattr(self.app.tasks.get(claim.task), "durable", False):
            return "is a task that this worker does not know"
        if claim.queue not in self.app.amqp.queues.consume_from:
            return f"is of the queue {claim.queue}, which this worker does not consume"
        return ""

    def _answered(self, deliveries: Sequence[Delivery]) -> None:
        """Called by the bookkeeper, on its thread: go on in the loop, if there is one."""
        if self.hub is None:
            self._take_answers(deliveries)
        else:
            self.hub.call_soon(self._take_answers, deliveries)

    def _take_answers(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge what has its answer, and run what was claimed."""
        for each in deliveries:
            if each.claim is not None and each.connection == self.connection_number:
                start(each.claim, each.message, self)
            elif each.claim is not None:
                self.bookkeeper.release(each.claim)
        copies = [each.message for each in deliveries if each.connection == self.connection_number]
        try:
            settings.BROKER_PROFILE.acknowledge(copies)
            self._prefetch()
        except self.connection_errors as error:
            # The loop finds out by itself. The broker hands the copies out again: there is nothing to run for them.
            logger.warning("Could not acknowledge %d messages: %s", len(copies), error)

    def _prefetch(self) -> None:
        """Take in advance from the broker what the places can use: more of tasks that are over at once."""
        wanted, now = max(self.initial_prefetch_count, self.bookkeeper.pace.ahead), time.monotonic()
        is_about_right = self.qos.value / 2 < wanted < self.qos.value * 2
        if not self.qos.value or is_about_right or now < self.prefetched_at + PREFETCH_SECONDS:
            return
        self.prefetched_at = now
        self.qos.value = wanted
        if settings.BROKER_PROFILE.prefetch_is_the_consumers:
            self.task_consumer.cancel()
            self.qos.update()
            self.task_consumer.consume()
