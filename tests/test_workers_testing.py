"""The worker that a project starts inside of its own tests: another pytest, on each broker."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.first_run.embedded import EmbeddedBroker
from settings import PROJECT_ROOT
from tests.harness.databases import Database
from tests.harness.environment import child_environment

SUITE = """
import pytest
from celery import shared_task
from app.celery import app
from tests.harness.waiting import wait_until
from workers.testing import start_worker

seen = []

@shared_task
def note(what):
    seen.append(what)

@pytest.mark.django_db(transaction=True)
def test_what_is_enqueued_is_run():
    with start_worker(app):
        result = note.delay("this")
        wait_until(lambda: result.state == "SUCCESS", "it is run")
    assert seen == ["this"]
"""


@pytest.mark.databases("postgresql")
def test_a_project_may_start_a_worker_in_its_own_tests(
    broker: EmbeddedBroker, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "test_project.py").write_text(SUITE)
    environment = child_environment(tmp_path, DATABASE_URL=database.url, PYTHONPATH=str(PROJECT_ROOT), **broker.env)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        "/dev/null",
        "-p",
        "no:cacheprovider",
        "--ds",
        "app.settings",
    ]
    done = subprocess.run(
        [*command, tmp_path],
        env=environment,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout[-3000:]
