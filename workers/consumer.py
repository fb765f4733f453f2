"""A Celery consumer that survives what a broker may hand it.

    worker_consumer = "workers.consumer:Consumer"

Celery's own dies of a message without an id or with a body of another shape, and again after each restart, because
the message comes back. This one keeps such a message in the database, acknowledges it and goes on.
"""

import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

from celery.exceptions import CPendingDeprecationWarning, InvalidTaskError
from celery.signals import task_postrun, task_prerun, worker_process_init, worker_shutdown
from celery.worker import consumer as celery_consumer
from celery.worker.state import maybe_shutdown
from django.conf import settings
from django.db import close_old_connections
from kombu.message import Message as BrokerMessage

from brokers.library_errors import as_broker_error
from outbox import instruments
from workers import poison, pool
from workers.admission import admit
from workers.exits import end_soon
from workers.watchdog import Watchdog

logger = logging.getLogger(__name__)

pool.install()

# Celery announces a future default at every lost connection, although brokers/base.py sets the option.
warnings.filterwarnings("ignore", "\nIn Celery 5.1 we introduced", CPendingDeprecationWarning)

#: How long messages that cannot be read wait before a database that is away is tried again.
KEEP_AGAIN_SECONDS = 1.0


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

    class Blueprint(celery_consumer.Consumer.Blueprint):  # type: ignore[misc, valid-type]
        # It would declare 28 queues on RabbitMQ for delays, which we keep in the database.
        default_steps = [step for step in celery_consumer.Consumer.Blueprint.default_steps if "delayed" not in step]

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        # Workers do not talk to each other: that needs queues which SQS has not, and which can lock a
        # reconnecting worker out on RabbitMQ. The database knows who is alive.
        without = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
        kwargs["worker_options"] = {**(worker_options or {}), **without}
        super().__init__(*args, **kwargs)
        self.unreadable: list[tuple[BrokerMessage, str]] = []
        self.watchdog = Watchdog(self)
        self.watchdog.start()
        worker_shutdown.connect(self.watchdog.stop, weak=False)
        look_after_connections()
        instruments.started("worker")

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
        """Celery's handler of one delivered message, which lets no message end the worker."""
        handle = super().create_task_handler(*args, **kwargs)
        self.watchdog.heard()
        # Those of a connection that was lost are no longer ours: the broker hands them out again.
        self.unreadable = []
        # kombu counts KeyError among them on Redis: a worker would reconnect, be handed the message again, and so on.
        away: tuple[Any, ...] = (OSError, *(each for each in self.connection_errors if each is not KeyError))

        def on_task_received(message: BrokerMessage) -> None:
            self.watchdog.heard()
            try:
                admit(message, self.app.tasks)
                handle(message)
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
        self.unreadable.append((message, reason))
        if len(self.unreadable) == 1:
            self._keep_unreadable(self.unreadable)

    def _keep_unreadable(self, messages: list[tuple[BrokerMessage, str]]) -> None:
        """Keep and acknowledge each of `messages`; while the database is away, try again with the first one.

        Until then each takes one of the places that a worker has for messages: with none left it would hear nothing.
        """
        while messages and messages is self.unreadable:
            if not poison.keep(*messages[0]):
                self.timer.call_after(KEEP_AGAIN_SECONDS, self.call_soon, (self._keep_unreadable, messages))
                return
            message, _ = messages.pop(0)
            message.ack_log_error(logger, self.connection_errors)
