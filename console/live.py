"""The part of the console that changes, rendered so seldom that it costs next to nothing, however many watch it."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.template.loader import render_to_string

from console.broker import BrokerLook, no_answer, watch_broker
from console.last_hour.charts import draw_latency, draw_throughput
from console.last_hour.minutes import LastHour, Minute, database_time
from console.latest import Latest
from console.page import read_page

#: What was read is shown for at least so long, and, where the database is slow, for at most so long.
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 5.0

#: How much of the time is spent on reading, at most, until the longest is reached.
SHARE = 0.02

#: Drawing takes as long as all the rest, and shows minutes.
CHARTS_SECONDS = 5.0


@dataclass
class Kept:
    """A text that is used again for a while."""

    html: str = ""
    until: float = 0.0

    def get(self, make: Callable[[], str], *, seconds: float) -> str:
        """The text, made anew if it is older than `seconds`, or than befits the time that it takes to make it."""
        began = time.monotonic()
        if began >= self.until:
            self.html = make()
            took = time.monotonic() - began
            self.until = began + max(seconds, min(took / SHARE, LONGEST_SECONDS))
        return self.html


@dataclass
class Live:
    """What this process shows to everyone who may do the same. Another process reads for itself."""

    broker: Latest[BrokerLook] = field(default_factory=watch_broker)
    last_hour: LastHour = field(default_factory=LastHour)
    _pages: defaultdict[bool, Kept] = field(default_factory=lambda: defaultdict(Kept))
    _charts: Kept = field(default_factory=Kept)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def render(self, *, can_replay: bool, broker_seconds: float = 0.0) -> str:
        """The page as it is now, or was a moment ago. Waits for the broker's answer for so long at most."""
        broker = self.broker.get(within_seconds=broker_seconds) or no_answer()
        with self._lock:
            return self._pages[can_replay].get(lambda: self._render(broker, can_replay), seconds=SHORTEST_SECONDS)

    def forget(self) -> None:
        """Read anew the next time: something was changed."""
        with self._lock:
            self._pages.clear()
            self._charts = Kept()

    def _render(self, broker: BrokerLook, can_replay: bool) -> str:
        now = database_time()
        minutes = self.last_hour.read(now)
        charts = self._charts.get(lambda: draw(minutes), seconds=CHARTS_SECONDS)
        context: dict[str, Any] = {**read_page(now, minutes, broker), "charts": charts, "can_replay": can_replay}
        return render_to_string("console/live.html", context)


def draw(minutes: Sequence[Minute]) -> str:
    """The charts of the last hour."""
    charts = {"throughput": draw_throughput(minutes), "latency": draw_latency(minutes)}
    return render_to_string("console/charts.html", charts)
