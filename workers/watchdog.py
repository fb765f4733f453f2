"""Records a worker's heartbeat, and ends the worker if it has gone deaf.

Deaf is a worker that is connected and has nothing to do, yet receives nothing for OUTBOX_DEAF_AFTER_SECONDS although
messages have waited in its queues for that long. Brokers' clients know several ways to get there.
"""

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.worker import state
from django.conf import settings
from django.db import Error, connection

from brokers.errors import BrokerError
from outbox import ledger
from outbox.heartbeat import Heart
from workers.exits import end_process

if TYPE_CHECKING:
    from workers.consumer import Consumer

logger = logging.getLogger(__name__)

#: Held while the watchdog looks, and by whoever forks. A pool process that is forked while another thread is inside of
#: a database's client inherits the locks of that client, held for ever, and waits for them with its first task.
LOOKING = threading.Lock()
os.register_at_fork(before=LOOKING.acquire, after_in_parent=LOOKING.release, after_in_child=LOOKING.release)

#: When the first look is: soon, because the relay wants to know which tasks a new worker knows.
FIRST_LOOK_SECONDS = 0.5

#: Looks in a row that must find the worker deaf.
DEAF_LOOKS = 2


class Watchdog(threading.Thread):
    """Looks at one worker every OUTBOX_HEARTBEAT_SECONDS."""

    def __init__(self, consumer: "Consumer") -> None:
        super().__init__(name="worker-watchdog", daemon=True)
        self.consumer = consumer
        self.heart = Heart("worker", every_seconds=0)
        self.looks = 0
        self.ended = threading.Event()
        self.heard()

    def heard(self) -> None:
        """The broker has handed the worker something, or has just been connected to."""
        self.heard_at = time.monotonic()

    def stop(self, **_: Any) -> None:
        """Take the heartbeat away: the worker ends on purpose."""
        self.ended.set()
        self.heart.stop()

    def run(self) -> None:
        self.heart.touch()
        pause_seconds = min(FIRST_LOOK_SECONDS, settings.OUTBOX.heartbeat_seconds)
        while not self.ended.wait(pause_seconds):
            pause_seconds = settings.OUTBOX.heartbeat_seconds
            with LOOKING:
                try:
                    self._look()
                except Error as error:
                    logger.warning("No heartbeat: the database does not answer (%s)", str(error).strip())
                except Exception:  # a watchdog that ended would make this worker look dead
                    logger.exception("No heartbeat")
                finally:
                    # Not kept open: the pool may fork at any time, and a child must not inherit it.
                    connection.close()

    def _look(self) -> None:
        queues = sorted(self.consumer.app.amqp.queues.consume_from)
        tasks = known_tasks(self.consumer.app)
        running = [request.id for request in tuple(state.active_requests)]
        self.heart.beat(
            queues=queues,
            tasks=tasks,
            direct_tasks=sorted(self.consumer.app.tasks.keys() - set(tasks)),
            pid=os.getpid(),
            concurrency=self.consumer.pool.limit,
            total=dict(state.total_count),
            broker=settings.BROKER_PROFILE.name,
            node=self.consumer.hostname,
            pool=self.consumer.pool.__class__.__module__.rpartition(".")[2],
            connected=bool(self.consumer.connection),
            done=sum(state.total_count.values()) - len(running),
            running=running,
            answers=dict(self.consumer.bookkeeper.counts),
        )
        self.looks = self.looks + 1 if self._seems_deaf(queues) else 0
        if self.looks >= DEAF_LOOKS:
            silence_seconds = time.monotonic() - self.heard_at
            end_process(f"Received nothing for {silence_seconds:.0f} s although messages wait in {', '.join(queues)}")

    def _seems_deaf(self, queues: list[str]) -> bool:
        silence_seconds = time.monotonic() - self.heard_at
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
            self.heard()
            return False


def known_tasks(app: Celery) -> list[str]:
    """The durable tasks that a worker of `app` can run: the relay publishes no other to it."""
    return sorted(name for name, task in app.tasks.items() if getattr(task, "durable", False))
