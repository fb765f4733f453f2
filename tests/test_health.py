"""What load balancers and orchestrators are told, with every server that may be away or frozen."""

import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from app.first_run.embedded import EmbeddedBroker
from settings import PROJECT_ROOT
from tests.harness.broker_settings import misconfigured
from tests.harness.databases import PostgresDatabase
from tests.harness.service import Service
from tests.harness.waiting import wait_until

#: What people may wait to be told.
TOLD_SECONDS = 10


def readiness(service: Service) -> tuple[int, dict[str, Any]]:
    began = time.monotonic()
    answer = requests.get(f"http://127.0.0.1:{service.port}/health/ready", timeout=10)
    assert time.monotonic() - began < 5, "an orchestrator's probe must not wait"
    return answer.status_code, answer.json()


def problems(service: Service) -> str:
    """What /health/ready says is wrong with the broker, cures included; it stays ready."""
    status, answer = readiness(service)
    assert status == requests.codes.ok
    assert answer["status"] == ("degraded" if "broker" in answer else "ok")
    return str(answer.get("broker", ""))


def assert_names(service: Service, *words: str) -> None:
    """It says so soon enough. Not at once: each web process remembers for a few seconds what it last saw."""
    wait_until(
        lambda: all(word in problems(service) for word in words), f"{words} to be told", within_seconds=TOLD_SECONDS
    )


@pytest.fixture
def ready_service(service: Service) -> Service:
    service.start_web()
    service.start_relay()
    wait_until(lambda: readiness(service)[1] == {"status": "ok"}, "readiness")
    return service


@pytest.mark.databases("postgresql")
@pytest.mark.parametrize("fault", ["stopped", "frozen"])
def test_a_broker_that_is_away_is_named_with_its_cure_and_the_service_is_ready(
    fault: str, ready_service: Service, broker: EmbeddedBroker
) -> None:
    broker.stop() if fault == "stopped" else broker.freeze()

    assert_names(ready_service, ready_service.profile.title)
    ready_service.shop.order()


@pytest.mark.databases("postgresql")
def test_a_misconfigured_broker_is_named_with_its_cure(ready_service: Service, broker: EmbeddedBroker) -> None:
    with misconfigured(ready_service) as (words, cure):
        assert_names(ready_service, words, cure)


@pytest.mark.brokers("redis")
@pytest.mark.databases("postgresql")  # a file cannot be frozen
def test_without_its_database_it_is_not_ready_but_alive(service: Service, database: PostgresDatabase) -> None:
    service.start_web()
    try:
        database.server.freeze()
        status, answer = wait_until(
            lambda: (found := readiness(service))[0] != requests.codes.ok and found, "503", within_seconds=TOLD_SECONDS
        )
        alive = requests.get(f"http://127.0.0.1:{service.port}/health/live", timeout=2)
    finally:
        database.server.thaw()
    assert (status, answer["status"]) == (503, "unavailable")
    assert alive.json() == {"status": "ok"}
    wait_until(lambda: readiness(service)[0] == requests.codes.ok, "readiness")


# --- processes without HTTP -------------------------------------------------------------------------------------------


def probe(kind: str, directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "settings.probe", kind]
    environment = {"OUTBOX_HEARTBEAT_DIRECTORY": str(directory)}
    return subprocess.run(command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True)


def is_alive(kind: str, directory: Path) -> bool:
    return probe(kind, directory).returncode == 0


def test_worker_relay_and_beat_are_alive_until_they_end(service: Service, tmp_path: Path) -> None:
    hearts = tmp_path / "hearts"
    service.env.update(OUTBOX_HEARTBEAT_DIRECTORY=str(hearts), OUTBOX_HEARTBEAT_SECONDS="1")
    worker, relay = service.start_worker(wait=False), service.start_relay(wait=False)
    service.start_beat(wait=False)

    for kind in ("worker", "relay", "beat"):
        wait_until(partial(is_alive, kind, hearts), f"the {kind} to be alive")
    relay.stop()
    worker.freeze()

    assert "has not started, or has ended" in probe("relay", hearts).stderr
    wait_until(lambda: "s ago (limit 3 s)" in probe("worker", hearts).stderr, "the frozen worker to be noticed")
    assert is_alive("beat", hearts)


def test_a_probe_costs_less_than_50_ms_of_processor_time(tmp_path: Path) -> None:
    (tmp_path / "worker").write_text("30")

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    costs = []
    for _ in range(5):
        before = spent()
        assert probe("worker", tmp_path).returncode == 0
        costs.append(spent() - before)
    assert min(costs) < 0.05


def test_a_probe_that_cannot_know_says_why(tmp_path: Path) -> None:
    (tmp_path / "relay").write_text("")

    assert "cannot be read" in probe("relay", tmp_path).stderr
