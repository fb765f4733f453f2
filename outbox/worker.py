"""A Celery consumer that survives what a broker may hand it, and says when it no longer hears anything.

    worker_consumer = "outbox.worker:Consumer"

Celery's own dies of a message without an id or with a body of another shape, and again after each restart, because
the message comes back. This one keeps such a message in the database, acknowledges it and goes on.
"""

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from celery.exceptions import CPendingDeprecationWarning, InvalidTaskError
from celery.signals import task_postrun, task_prerun, worker_process_init, worker_shutdown
from celery.worker import consumer as celery_consumer
from celery.worker import state
from celery.worker.state import maybe_shutdown
from django.conf import settings
from django.db import Error, close_old_connections, connection
from kombu.message import Message as BrokerMessage

from brokers.errors import BrokerError
from brokers.library_errors import as_broker_error
from outbox import instruments, ledger, poison, pool
from outbox.admission import admit
from outbox.heartbeat import Heart

logger = logging.getLogger(__name__)

pool.install()

# Celery announces a future default at every lost connection, although brokers/base.py sets the option.
warnings.filterwarnings("ignore", "\nIn Celery 5.1 we introduced", CPendingDeprecationWarning)

#: Exit status of a worker that cannot go on (EX_SOFTWARE): its supervisor starts a new one.
BROKEN_EXIT_STATUS = 70

#: How long a worker may take to stop after an error that it does not survive, or when it is told to stop at once.
#: Celery waits for its pool, which may have come to harm, and for its broker, which may be frozen. A task that is cut
#: short runs again.
STOP_SECONDS = 10.0

#: Held while the watchdog looks, and by whoever forks. A pool process that is forked while another thread is inside of
#: a database's client inherits the locks of that client, held for ever, and waits for them with its first task.
LOOKING = threading.Lock()
os.register_at_fork(before=LOOKING.acquire, after_in_parent=LOOKING.release, after_in_child=LOOKING.release)

#: Looks in a row that must find the worker deaf.
DEAF_LOOKS = 2


@worker_process_init.connect
def leave_process_group(**_: Any) -> None:
    """Pool processes end when the worker tells them to, not when someone signals the worker's whole group.

    honcho, terminals and some supervisors do that, and Celery's pool processes would die of it in mid-task while the
    worker waits for them to finish.
    """
    os.setpgrp()


def end_process(reason: str) -> NoReturn:
    """End at once. Not by a signal: a worker in such a state may never get round to handling one."""
    logger.critical("%s: ending at once.", reason)
    logging.shutdown()
    os._exit(BROKEN_EXIT_STATUS)


def end_soon(cause: str) -> None:
    """End in STOP_SECONDS if this process is then still there."""
    end = threading.Timer(STOP_SECONDS, end_process, [f"Still here {STOP_SECONDS:.0f} s after {cause}"])
    end.daemon = True
    end.start()


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
        self.heard_at = time.monotonic()
        self.watch = Watch(self)
        self.watch.start()
        worker_shutdown.connect(self.watch.stop, weak=False)
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
        self.heard_at = time.monotonic()
        # kombu counts KeyError among them on Redis: a worker would reconnect, be handed the message again, and so on.
        away: tuple[Any, ...] = (OSError, *(each for each in self.connection_errors if each is not KeyError))

        def on_task_received(message: BrokerMessage) -> None:
            self.heard_at = time.monotonic()
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
        # Not acknowledged if it could not be kept: the broker will hand it out again.
        if poison.keep(message, reason):
            message.ack_log_error(logger, self.connection_errors)


class Watch(threading.Thread):
    """Records the worker's heartbeat and ends the worker if it has gone deaf.

    Deaf is a worker that is connected and has nothing to do, yet receives nothing for OUTBOX_DEAF_AFTER_SECONDS
    although messages have waited in its queues for that long. Brokers' clients know several ways to get there.
    """

    def __init__(self, consumer: Consumer) -> None:
        super().__init__(name="outbox-watch", daemon=True)
        self.consumer = consumer
        self.heart = Heart("worker", every_seconds=0)
        self.looks = 0
        self.ended = threading.Event()

    def stop(self, **_: Any) -> None:
        """Take the heartbeat away: the worker ends on purpose."""
        self.ended.set()
        self.heart.stop()

    def run(self) -> None:
        self.heart.touch()
        while not self.ended.wait(settings.OUTBOX.heartbeat_seconds):
            with LOOKING:
                try:
                    self._look()
                except Error as error:
                    logger.warning("No heartbeat: the database does not answer (%s)", str(error).strip())
                finally:
                    # Not kept open: the pool may fork at any time, and a child must not inherit it.
                    connection.close()

    def _look(self) -> None:
        queues = sorted(self.consumer.app.amqp.queues.consume_from)
        running = [request.id for request in tuple(state.active_requests)]
        self.heart.beat(
            queues=queues,
            broker=settings.BROKER_PROFILE.name,
            pool=self.consumer.pool.__class__.__module__.rpartition(".")[2],
            connected=bool(self.consumer.connection),
            done=sum(state.total_count.values()) - len(running),
            running=running,
        )
        self.looks = self.looks + 1 if self._seems_deaf(queues) else 0
        if self.looks >= DEAF_LOOKS:
            silence_seconds = time.monotonic() - self.consumer.heard_at
            end_process(f"Received nothing for {silence_seconds:.0f} s although messages wait in {', '.join(queues)}")

    def _seems_deaf(self, queues: list[str]) -> bool:
        silence_seconds = time.monotonic() - self.consumer.heard_at
        patience_seconds = settings.OUTBOX.deaf_after_seconds
        if silence_seconds < patience_seconds or not self.consumer.connection or state.reserved_requests:
            return False
        try:
            return any(
                ledger.waits_unclaimed(queue, seconds=patience_seconds)
                and settings.BROKER_PROFILE.depth(queue).waiting > 0
                for queue in queues
            )
        except BrokerError:
            # Nobody hears anything from a broker that is away. Once it is back the worker has its time again.
            self.consumer.heard_at = time.monotonic()
            return False
