"""What a task's `on_success` writes is committed together with `done`.

    @shared_task(on_success=record_it)        # Celery's own hook: (task, retval, task_id, args, kwargs)

For a task whose effect is outside of the database, such as an e-mail: what it records of the effect and the message's
`done` are one transaction. So there is no moment at which only one of them is known. The hook is called again if the
database was away, or did not confirm the commit: what it writes must be the same the second time.
"""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError, connection, transaction

from outbox import ledger

#: How long the end of a task waits for a database that is away, in all and between two tries.
PATIENCE_SECONDS, PAUSE_SECONDS = 60.0, 0.5

#: What a database that is away raises, and what ends the wait for it: the next attempt may find it there.
AWAY = (OperationalError, InterfaceError)
PASSING = (*AWAY, SoftTimeLimitExceeded)

Hook = Callable[..., None]


def commit_with_done(hook: Hook) -> Hook:
    """Wrap a task's `on_success`: its transaction settles the claim that the task runs for.

    `request.asked` gets to know whether that was so (`settled`), or why the hook failed (`unrecorded`): Celery only
    logs it.
    """

    @wraps(hook)
    def on_success(task: Any, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        claim, asked = task.request.get("claim"), task.request.get("asked")
        # Called by the hook of a derived class, or for a task that has asked to be run again.
        if claim is None or "retry" in asked or "settled" in asked:
            return hook(task, retval, task_id, args, kwargs)

        @transaction.atomic
        def settle() -> bool:
            hook(task, retval, task_id, args, kwargs)
            # If the lease was lost, what the hook writes is still the truth.
            return ledger.complete(claim, seconds=time.monotonic() - asked["began"])

        asked["settled"] = None
        try:
            asked["settled"] = _persist(settle)
        except Exception as error:
            asked["unrecorded"] = error
            raise
        return None

    return on_success


def _persist(write: Callable[[], bool]) -> bool:
    """Call `write`. While the database is away, try again on a new connection for up to PATIENCE_SECONDS.

    Inside a transaction it is called once: a lost connection loses the whole transaction.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return write()
        except AWAY:
            if connection.in_atomic_block or time.monotonic() > deadline:
                raise
            connection.close()
        time.sleep(PAUSE_SECONDS)
