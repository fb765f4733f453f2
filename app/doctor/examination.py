"""Runs checks side by side and is done by a deadline, whatever hangs: a doctor must not need a healthy patient."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from django.db import Error, connection

from brokers import Finding


@dataclass(frozen=True)
class Check:
    """One area that is looked at, in a thread of its own."""

    area: str
    examine: Callable[[], Iterable[Finding]]
    """Yields what it finds, as soon as it is found. What it raises becomes a finding."""
    cure: str
    """What to do when it does not end in time."""


@dataclass
class Examination:
    """A check that is being made."""

    check: Check
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A daemon: one that hangs for ever must not keep the doctor from ending.
        self._thread = threading.Thread(target=self._run, name=f"doctor-{self.check.area}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.findings.extend(self.check.examine())
        except Error as error:
            cure = "Is it up, and migrated (manage.py migrate)?"
            self.findings.append(Finding("fail", "database", f"The database says: {one_line(error)}.", cure))
        except Exception as error:  # whatever is wrong with one area, the others are worth a look
            message = f"{type(error).__name__}: {one_line(error)}"
            self.findings.append(Finding("fail", "check", message, "This check itself has failed: report it."))
        finally:
            connection.close()

    def wait(self, until: float) -> Iterator[Finding]:
        """What was found by then, and that it is not all if it is not."""
        self._thread.join(max(until - time.monotonic(), 0))
        unfinished = self._thread.is_alive()
        yield from list(self.findings)
        if unfinished:
            yield Finding("fail", "time", "No answer in time.", self.check.cure)


def examine(checks: Sequence[Check], *, deadline_seconds: float) -> Iterator[tuple[str, Finding]]:
    """Make all checks at once; yield area and finding in the order of `checks`, all of it within the deadline."""
    until = time.monotonic() + deadline_seconds
    for examination in [Examination(check) for check in checks]:
        for finding in examination.wait(until):
            yield examination.check.area, finding


def one_line(error: BaseException) -> str:
    """The first line of what a library says, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
