"""`python -m benchmarks.pages` measures the first and the last page of a customer's 100,000 orders, on both databases.

Fails if the last page takes more than 1.5 times as long as the first.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.servers import running_databases
from settings import PROJECT_ROOT
from tests.harness.environment import child_environment

#: For all pages of one database together.
SECONDS = 15.0

#: How many times as long as the first page the last one may take.
LIMIT = 1.5


def main() -> None:
    slow = False
    with running_databases() as databases, TemporaryDirectory() as home:
        for kind, each in databases.items():
            database = each.create()
            variables = {"DATABASE_URL": database.url, "DEBUG": "false", "LOG_LEVEL": "WARNING"}
            first, last, *others = measure(child_environment(Path(home), **variables))
            for page in (first, last, *others):
                print(f"{kind:12}{page['name']:45}{page['milliseconds']:8.1f} ms")
            slow |= last["milliseconds"] > LIMIT * first["milliseconds"]
            database.drop()
    if slow:
        sys.exit(f"The last page takes more than {LIMIT} times as long as the first.")


def measure(environment: dict[str, str]) -> list[dict[str, float]]:
    command = [sys.executable, "-m", "benchmarks.subject", "lists", str(SECONDS)]
    done = subprocess.run(command, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, check=True)
    pages: list[dict[str, float]] = json.loads(done.stdout)
    return pages


if __name__ == "__main__":
    main()
