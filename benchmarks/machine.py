"""Describes the machine and the versions, without which a measured number means nothing."""

import os
import platform
import sqlite3
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

PACKAGES = ("celery", "kombu", "django", "psycopg", "redis", "boto3", "moto")

#: How many writes to the disk are timed.
SYNCS = 200


def describe_machine() -> list[str]:
    """Return lines for a person: processor, load, disk, versions."""
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return [
        f"{processor()}, {cores} cores, load {load:.1f} before the first round; {platform.system()}",
        f"flushing a write to the disk takes {sync_microseconds():.0f} µs (median of {SYNCS})",
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        f"SQLite {sqlite3.sqlite_version}",
    ]


def processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


def sync_microseconds() -> float:
    """Return the median time of flushing a write to the disk: the least that a commit takes."""
    with tempfile.NamedTemporaryFile() as file:
        return median(_sync(file.fileno(), number) for number in range(SYNCS)) * 1e6


def _sync(file: int, number: int) -> float:
    os.pwrite(file, b"x" * 8192, 8192 * number)
    started = time.perf_counter()
    os.fsync(file)
    return time.perf_counter() - started
