"""The part of the console that changes, rendered so seldom that it costs next to nothing, however many watch it."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from django.template.loader import render_to_string

from console.broker import BrokerLook, no_answer, watch_broker
from console.last_hour import LastHour
from console.page import read_page
from outbox.latest import Latest

#: What was read is shown for at least so long, and, where the database is slow, for at most so long.
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 5.0

#: How much of the time is spent on reading, at most, until the longest is reached.
SHARE = 0.02


@dataclass
class Live:
    """What this process shows to everyone who may do the same. Another process reads for itself."""

    broker: Latest[BrokerLook] = field(default_factory=watch_broker)
    last_hour: LastHour = field(default_factory=LastHour)
    _kept: dict[bool, tuple[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def render(self, *, can_replay: bool, broker_seconds: float = 0.0) -> str:
        """The page as it is now, or was a moment ago. Waits for the broker's answer for so long at most."""
        broker = self.broker.get(within_seconds=broker_seconds) or no_answer()
        with self._lock:
            html, until = self._kept.get(can_replay, ("", 0.0))
            began = time.monotonic()
            if began >= until:
                html = render_to_string("console/live.html", self._context(broker, can_replay))
                took = time.monotonic() - began
                until = began + min(max(took / SHARE, SHORTEST_SECONDS), LONGEST_SECONDS)
                self._kept[can_replay] = (html, until)
            return html

    def forget(self) -> None:
        """Read anew the next time: something was changed."""
        with self._lock:
            self._kept.clear()

    def _context(self, broker: BrokerLook, can_replay: bool) -> dict[str, Any]:
        return {**read_page(self.last_hour, broker), "can_replay": can_replay}
