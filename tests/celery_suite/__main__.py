"""Runs Celery's own integration suite, of the locked version, against this project's app: `make celery-suite`.

Nothing of it is in this repository: it comes from Celery's sdist on the package index, and is kept in `var/`. What
stock Celery passes in the same place is in `stock.txt` (`--stock` writes it anew); what differs on purpose is in
`differences.toml`. Anything else that differs is a failure.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import celery

from settings import PROJECT_ROOT
from tests.harness.environment import child_environment
from tests.harness.servers import Servers

HERE = Path(__file__).parent
KEPT_IN = PROJECT_ROOT / "var" / "celery-suite"

#: What is run with which app: durable tasks, and the canvas with tasks that opt out.
SUITES: Mapping[str, Sequence[str]] = {
    "durable": (
        "test_tasks",
        "test_inspect",
        "test_worker",
        "test_loader",
        "test_serialization",
        "test_logfile_format",
    ),
    "direct": ("test_canvas", "test_group_chains"),
}

#: How long a test may take; stock ones take less than ten.
SECONDS = 40

Outcomes = dict[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make celery-suite", description=__doc__)
    parser.add_argument("--broker", default="redis", choices=["redis", "rabbitmq", "sqs"])
    parser.add_argument("--stock", action="store_true", help="run stock Celery and write down what it passes")
    parser.add_argument("--suite", choices=SUITES, action="append", help="only this one; may be repeated")
    parser.add_argument("arguments", nargs="*", help="more arguments for pytest, after --")
    options = parser.parse_args()
    suite = fetch(celery.__version__)
    found: Outcomes = {}
    for name in options.suite or SUITES:
        kind = "stock" if options.stock else name
        outcomes = run(kind, options.broker, suite, SUITES[name], options.arguments)
        found |= {f"{name} {test}": ended for test, ended in outcomes.items()}
    if options.stock:
        write_stock(found)
        return 0
    return compare(found)


def fetch(version: str) -> Path:
    """The folder with Celery's tests, fetched if it is not there yet."""
    folder = KEPT_IN / version
    if not (folder / "t").exists():
        print(f"Fetching the sdist of celery {version} ...", flush=True)
        KEPT_IN.mkdir(parents=True, exist_ok=True)
        uv = shutil.which("uv") or PROJECT_ROOT / "var/tools/bin/uv"
        command = [uv, "tool", "run", "--quiet", "pip", "download", "--quiet", "--no-deps", "--no-binary", "celery"]
        subprocess.run([*command, "--dest", KEPT_IN, f"celery=={version}"], check=True)
        with tarfile.open(KEPT_IN / f"celery-{version}.tar.gz") as sdist:
            members = [each for each in sdist.getmembers() if each.name.startswith(f"celery-{version}/t/")]
            sdist.extractall(KEPT_IN, members, filter="data")
        (KEPT_IN / f"celery-{version}").rename(folder)
    return folder


def run(kind: str, broker: str, suite: Path, names: Sequence[str], arguments: Sequence[str]) -> Outcomes:
    """Run some of the suite's files with one app, and return how each test ended."""
    logs = KEPT_IN / f"{kind}-{broker}"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    files = [f"t/integration/{name}.py" for name in names]
    report = logs / "report.xml"
    options = ["-p", "tests.celery_suite.plugin", "-p", "no:django", "-p", "no:xdist", "-q", "-c", "/dev/null"]
    options += ["--rootdir", str(suite), "-o", "python_classes=test_*", "--junitxml", str(report)]
    servers = Servers()
    try:
        environment = environment_of(kind, broker, servers, logs)
        command = [sys.executable, "-m", "pytest", *options, *files, *arguments]
        subprocess.run(command, env=environment, cwd=suite, check=False)
    finally:
        servers.stop()
    return read(report)


def environment_of(kind: str, broker: str, servers: Servers, logs: Path) -> dict[str, str]:
    """What the tests and their worker have around them: a broker, a database, and Redis for results."""
    for each in ("postgresql", broker):
        servers.provide(each, print)
    carrier, results = servers.broker(broker), servers.broker("redis").env["REDIS_URL"].rpartition("/")[0]
    stock = {"redis": f"{results}/2"}.get(broker, "")
    environment = child_environment(
        logs,
        DATABASE_URL=servers.databases("postgresql").create().url,
        QUEUES="celery",
        CELERY_SUITE=kind,
        CELERY_SUITE_LOGS=str(logs),
        CELERY_SUITE_SECONDS=str(SECONDS),
        PYTHONPATH=str(PROJECT_ROOT),
        TEST_BACKEND=f"{results}/1",
        TEST_BROKER=stock,
        REDIS_HOST="127.0.0.1",
        REDIS_PORT=results.rpartition(":")[2],
        **carrier.env,
    )
    if kind != "stock":
        environment["CELERY_RESULT_BACKEND"] = environment["TEST_BACKEND"]
    return environment


def read(report: Path) -> Outcomes:
    """How each test ended, by file, class and name."""
    outcomes: Outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        marks = {child.tag for child in case}
        ended = "failed" if marks & {"failure", "error"} else "skipped" if "skipped" in marks else "passed"
        outcomes[f"{case.get('classname', '').removeprefix('t.integration.')}::{case.get('name')}"] = ended
    return outcomes


def write_stock(found: Outcomes) -> None:
    passed = sorted(test for test, ended in found.items() if ended == "passed")
    text = [f"# What celery {celery.__version__} itself passes: make celery-suite ARGS=--stock", *passed]
    (HERE / "stock.txt").write_text("\n".join(text) + "\n")
    print(f"{len(passed)} of {len(found)} passed.")


def compare(found: Outcomes) -> int:
    """Say what differs from stock Celery; 1 if something does that should not, or does not although it should."""
    title, *passed_by_stock = (HERE / "stock.txt").read_text().splitlines()
    if f"celery {celery.__version__} " not in title:
        print(f"stock.txt is of another version ({title}). Write it anew: make celery-suite ARGS=--stock")
        return 1
    expected = tomllib.loads((HERE / "differences.toml").read_text())
    differ = {test for test in passed_by_stock if found.get(test, "passed") != "passed"}
    problems = 0
    for test in sorted(differ):
        kind, _, name = test.partition(" ")
        reason = expected.get(kind, {}).get(name)
        problems += reason is None
        print(f"{'expected' if reason else 'DIFFERS'}: {test}{f': {reason}' if reason else ''}")
    for kind, tests in expected.items():
        for name in tests:
            if found.get(f"{kind} {name}") == "passed":
                problems += 1
                print(f"NO LONGER DIFFERS: {kind} {name}. Take it off differences.toml.")
    same = sum(ended == "passed" for ended in found.values())
    print(f"{same} passed as with stock Celery, {len(differ)} differ, {problems} of them unexpectedly.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
