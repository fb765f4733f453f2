"""Runs the checks side by side and ends at a deadline, even if a check hangs."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from django.db import Error, connection

from brokers import Finding


@dataclass(frozen=True)
class Check:
    """The check of one area. It runs in a thread of its own."""

    area: str
    examine: Callable[[], Iterable[Finding]]
    """Yields its findings one by one. An error that it raises becomes a finding."""
    cure: str
    """What to do when it does not end in time."""


@dataclass
class Examination:
    """A running check."""

    check: Check
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A daemon thread: if it hangs for ever, the doctor can still end.
        self._thread = threading.Thread(target=self._run, name=f"doctor-{self.check.area}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.findings.extend(self.check.examine())
        except Error as error:
            cure = "Is it up, and migrated (manage.py migrate)?"
            self.findings.append(Finding("fail", "database", f"The database says: {one_line(error)}.", cure))
        except Exception as error:  # an error in one area must not end the checks of the others
            message = f"{type(error).__name__}: {one_line(error)}"
            self.findings.append(Finding("fail", "check", message, "This check itself has failed: report it."))
        finally:
            connection.close()

    def wait(self, until: float) -> Iterator[Finding]:
        """Yield what was found by the time `until`; if the check has not ended, a finding that says so."""
        self._thread.join(max(until - time.monotonic(), 0))
        unfinished = self._thread.is_alive()
        yield from list(self.findings)
        if unfinished:
            yield Finding("fail", "time", "No answer in time.", self.check.cure)


def examine(checks: Sequence[Check], *, deadline_seconds: float) -> Iterator[tuple[str, Finding]]:
    """Run all checks at once. Yield area and finding in the order of `checks`, before the deadline."""
    until = time.monotonic() + deadline_seconds
    for examination in [Examination(check) for check in checks]:
        for finding in examination.wait(until):
            yield examination.check.area, finding


def one_line(error: BaseException) -> str:
    """Return the first line of an error's text, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
