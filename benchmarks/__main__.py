"""Measure the cost of durability, side by side with plain Celery.

`python -m benchmarks` measures everything, for a few seconds each. `python -m benchmarks --broker redis --seconds 60
worker` measures one subject thoroughly.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from app.first_run.embedded import EMBEDDED, EmbeddedBroker
from benchmarks.compare import Outcome
from benchmarks.machine import describe_machine
from benchmarks.registry import SMALL_WINDOWS, SUBJECTS, Subject
from benchmarks.servers import MissingServerError, running_broker, running_databases
from benchmarks.table import Line, format_table
from settings import PROJECT_ROOT
from tests.harness.databases import Databases
from tests.harness.environment import child_environment

#: As in production. With DEBUG, Django would record every statement.
VARIABLES = {"DEBUG": "false", "QUEUES": "bench", "LOG_LEVEL": "WARNING"}


def main() -> None:
    arguments = parse_arguments()
    started = time.monotonic()
    machine = describe_machine()
    lines: list[Line] = []
    with running_databases() as databases, TemporaryDirectory() as home:
        for name in arguments.broker:
            try:
                with running_broker(name) as broker:
                    for subject in arguments.subjects:
                        lines += measure(subject, name, broker, databases, Path(home), arguments.seconds)
            except MissingServerError as error:
                print(f"NOT MEASURED: {error}", flush=True)
    lines.sort(key=lambda line: list(SUBJECTS.values()).index(line.subject))
    print(*machine, "", format_table(lines), "", f"({time.monotonic() - started:.0f} s)", sep="\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("subjects", nargs="*", choices=[*SUBJECTS, []], help=f"some of: {', '.join(SUBJECTS)}")
    parser.add_argument("--broker", action="append", choices=EMBEDDED, help="only this one; may be repeated")
    parser.add_argument("--seconds", type=float, default=4, help="for each comparison (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.subjects = [SUBJECTS[name] for name in arguments.subjects or SUBJECTS]
    arguments.broker = arguments.broker or list(EMBEDDED)
    return arguments


def measure(
    subject: Subject,
    name: str,
    broker: EmbeddedBroker,
    databases: dict[str, Databases],
    home: Path,
    seconds: float,
) -> list[Line]:
    """Measure one subject on one broker, with each database, in processes of their own."""
    lines = []
    for kind in subject.databases:
        database = databases[kind].create()
        environment = child_environment(
            home, DATABASE_URL=database.url, **broker.env, **VARIABLES, **SMALL_WINDOWS[name]
        )
        for outcome in run_subject(subject, seconds, environment):
            lines.append(Line(subject, outcome, name, kind))
            print(*lines[-1].cells, sep="  ", flush=True)
        database.drop()
    return lines


def run_subject(subject: Subject, seconds: float, environment: dict[str, str]) -> list[Outcome]:
    command = [sys.executable, "-m", "benchmarks.subject", subject.name, str(seconds)]
    done = subprocess.run(command, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return [Outcome(**each) for each in json.loads(done.stdout)]


if __name__ == "__main__":
    main()
