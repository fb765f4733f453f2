"""Wait for a condition with a deadline, instead of sleeping and hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

#: Twice what a busy machine with two cores has ever needed for one step of the service.
DEFAULT_SECONDS = 30.0


def wait_until(
    condition: Callable[[], Result], what: str, *, within_seconds: float = DEFAULT_SECONDS, every_seconds: float = 0.02
) -> Result:
    """Return the first true answer of `condition`.

    Raises AssertionError saying that `what` did not happen, with the last answer, once the time is up.
    """
    deadline = time.monotonic() + within_seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within_seconds:g} s (the last answer was {answer!r})")
        time.sleep(every_seconds)
