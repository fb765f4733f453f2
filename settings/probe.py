"""Is the worker, relay or beat of this container alive?

    python -m settings.probe worker

Status 0 if its last heartbeat is recent enough, else 1 with the reason. It reads one file and imports nothing but the
standard library, so asking every few seconds costs next to nothing. The file is in OUTBOX_HEARTBEAT_DIRECTORY, which
the environment must name: `.env` is not read.
"""

import os
import sys
import time
from pathlib import Path

VARIABLE = "OUTBOX_HEARTBEAT_DIRECTORY"


def find_fault(kind: str, directory: str) -> str:
    """Return what is wrong with the process; "" if it is alive. The file says how many seconds a heartbeat is good
    for."""
    if not directory:
        return f"{VARIABLE} is not set: set it for the {kind} and for this command."
    file = Path(directory, kind)
    try:
        age_seconds = time.time() - file.stat().st_mtime
        good_seconds = float(file.read_text())
    except FileNotFoundError:
        return f"{file} does not exist: the {kind} has not started, or has ended."
    except (OSError, ValueError) as error:
        return f"{file} cannot be read ({error})."
    if age_seconds > good_seconds:
        return f"The last heartbeat of the {kind} was {age_seconds:.0f} s ago (limit {good_seconds:g} s)."
    return ""


if __name__ == "__main__":
    sys.exit(find_fault(sys.argv[1] if len(sys.argv) > 1 else "worker", os.environ.get(VARIABLE, "")) or 0)
