"""Hooks for those who watch messages travel: logs, metrics, traces. With none installed they cost next to nothing.

The outbox itself knows no library for any of them.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from kombu.utils.json import loads

from brokers.wire import TaskMessage
from outbox.ledger import Claim


class Instrument:
    """What is done at each step of a message's journey. Override what matters; nothing here may raise."""

    def started(self, kind: str) -> None:
        """A relay, worker or beat has started in this process."""

    def headers(self, task: str) -> dict[str, Any]:
        """`.delay()` writes a row: what its headers shall carry from the sender's context to the worker's."""
        return {}

    def publishing(self, queue: str, messages: Sequence[TaskMessage]) -> AbstractContextManager[None]:
        """The relay publishes a batch while the block runs."""
        return nullcontext()

    def running(self, task: str, claim: Claim, headers: dict[str, Any]) -> AbstractContextManager[None]:
        """A worker runs a message while the block runs."""
        return nullcontext()

    def timed(self, step: str, seconds: float) -> None:
        """A worker's statement for a batch of messages, `claim` or `settle`, took so long."""

    def answered(self, answer: str, number: int) -> None:
        """So many messages that a worker took off a broker got this answer (`ledger.Answer`)."""

    def settled(self, task: str, outcome: str, seconds: float) -> None:
        """An attempt of `task` ended after so long: `complete`, `retry`, `fail` or `refuse`."""


installed: list[Instrument] = []


def install(instrument: Instrument) -> None:
    installed.append(instrument)


def started(kind: str) -> None:
    for each in installed:
        each.started(kind)


def add_headers(task: str, given: dict[str, Any] | None) -> dict[str, Any] | None:
    """The caller's headers and those of all instruments; the caller's win."""
    if not installed:
        return given
    added = {name: value for each in installed for name, value in each.headers(task).items()}
    return {**added, **(given or {})}


def publishing(queue: str, messages: Sequence[TaskMessage]) -> AbstractContextManager[Any]:
    if not installed:
        return nullcontext()
    contexts = ExitStack()
    for each in installed:
        contexts.enter_context(each.publishing(queue, messages))
    return contexts


def running(task: str, claim: Claim) -> AbstractContextManager[Any]:
    if not installed:
        return nullcontext()
    try:
        headers = loads(claim.headers) if claim.headers != "{}" else {}
    except ValueError:  # a type that nobody registered here: the task itself will fail of it
        headers = {}
    if len(installed) == 1:
        return installed[0].running(task, claim, headers)
    contexts = ExitStack()
    for each in installed:
        contexts.enter_context(each.running(task, claim, headers))
    return contexts


def timed(step: str, began: float) -> None:
    """Report that `step` began at `began` (perf_counter) and ends now."""
    if installed:
        seconds = time.perf_counter() - began
        for each in installed:
            each.timed(step, seconds)


def answered(answer: str, number: int) -> None:
    for each in installed:
        each.answered(answer, number)


def settled(task: str, outcome: str, seconds: float) -> None:
    for each in installed:
        each.settled(task, outcome, seconds)
