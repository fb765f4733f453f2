"""Ask what may hang without hanging: a frozen broker or database must not freeze whoever reports that it is frozen."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """The latest answer to a question, asked by a daemon thread, one at a time, and only when somebody wants to know.

    `ask` returns the answer, errors included: it must not raise.
    """

    def __init__(self, ask: Callable[[], T], *, every_seconds: float, stale_seconds: float) -> None:
        self._ask = ask
        self.every_seconds = every_seconds
        """An answer that is younger is given again, however many want to know."""
        self.stale_seconds = stale_seconds
        """An answer that is older is not given at all."""
        self._answer: tuple[T, float] | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def get(self, *, within_seconds: float) -> T | None:
        """A fresh answer if there is one in time, else the last one; None when that is stale or there is none."""
        deadline = time.monotonic() + within_seconds
        with self._changed:
            while self._age() >= self.every_seconds:
                self._start()
                if not self._changed.wait(deadline - time.monotonic()):
                    break
            return self._answer[0] if self._answer and self._age() < self.stale_seconds else None

    def _age(self) -> float:
        return time.monotonic() - self._answer[1] if self._answer else float("inf")

    def _start(self) -> None:
        # A thread of a process that has forked since is dead.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="latest", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        answer = self._ask()
        with self._changed:
            self._answer = (answer, time.monotonic())
            self._thread = None
            self._changed.notify_all()
