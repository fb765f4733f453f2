"""How a process ends that cannot go on: its supervisor starts a new one."""

import logging
import os
import threading
from typing import NoReturn

logger = logging.getLogger(__name__)

#: Exit status of a worker that cannot go on (EX_SOFTWARE).
BROKEN_EXIT_STATUS = 70

#: How long a worker may take to stop after an error that it does not survive, or when it is told to stop at once.
#: Celery waits for its pool, which may have come to harm, and for its broker, which may be frozen. A task that is cut
#: short runs again.
STOP_SECONDS = 10.0


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
