"""A pytest plugin: the fixtures of Celery's suite, with `subject.app` and processes of its own in place of a thread."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.contrib import pytest as celerys
from celery.utils.nodenames import anon_nodename

from app.first_run.processes import ChildProcess
from settings import PROJECT_ROOT
from tests.celery_suite.subject import KIND, app
from tests.harness.waiting import wait_until

#: How long a test may take, in seconds; empty: as long as the suite says.
SECONDS = os.environ.get("CELERY_SUITE_SECONDS", "")


@pytest.fixture(scope="session")
def celery_session_app() -> Celery:
    app.set_default()
    app.set_current()
    app.loader.import_default_modules()
    return app


@pytest.fixture
def celery_app(celery_session_app: Celery) -> Celery:
    return celery_session_app


@pytest.fixture(scope="session")
def celery_session_worker(celery_session_app: Celery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    directory = Path(os.environ["CELERY_SUITE_LOGS"])
    node = anon_nodename()
    commands = {
        "worker": ["-m", "celery", "-A", "tests.celery_suite.subject", "worker", "-l", "INFO", "-n", node, "-c", "4"]
    }
    if KIND != "stock":
        commands["relay"] = [str(PROJECT_ROOT / "manage.py"), "relay"]
    processes = []
    for name, command in commands.items():
        process = ChildProcess(
            [sys.executable, *command], env=dict(os.environ), log=directory / f"{KIND}-{name}.log", cwd=Path.cwd()
        )
        process.start()
        processes.append(process)
    wait_until(lambda: " ready." in processes[0].log_tail(), "the worker to be ready")
    yield SimpleNamespace(app=celery_session_app, hostname=node)
    for process in processes:
        process.stop()


celerys.celery_session_app = celery_session_app
celerys.celery_app = celery_app
celerys.celery_session_worker = celery_session_worker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test less time than the suite does, if CELERY_SUITE_SECONDS says so."""
    for item in items if SECONDS else ():
        item.add_marker(pytest.mark.timeout(float(SECONDS)), append=False)
