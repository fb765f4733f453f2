"""An order's journey as metrics, traces and logs tell it, with the real processes on every broker."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from app.first_run.embedded import EmbeddedBroker
from app.first_run.processes import find_free_port
from app.telemetry.tracing import Tracing
from brokers.wire import TaskMessage
from outbox.models import Message
from settings import PROJECT_ROOT
from tests.harness.otlp import Collector
from tests.harness.service import Service, ServiceProcess
from tests.harness.smtp import MailServer
from tests.harness.waiting import wait_until
from tests.outbox_rows import add

TASK = "orders.tasks.send_order_confirmation_email"

#: The steps of an order whose e-mail was sent, as spans.
STEPS = {"POST ^orders/$", f"enqueue {TASK}", f"publish {TASK}", f"run {TASK}", "smtp send"}

TOKEN = "read-the-metrics"

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def metrics(port: int) -> str:
    answer = requests.get(f"http://127.0.0.1:{port}/metrics", headers=BEARER, timeout=10)
    assert answer.ok
    return answer.text


def logged(process: ServiceProcess, name: str, value: str) -> list[dict[str, Any]]:
    """The lines of its log whose `name` is `value`."""
    lines = [json.loads(line) for line in process.output.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get(name) == value]


def test_one_order_is_one_trace_one_trail_in_the_logs_and_counted(
    service: Service, collector: Collector, mail_server: MailServer
) -> None:
    service.env.update(
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="200",
        METRICS_TOKEN=TOKEN,
        OUTBOX_HEARTBEAT_SECONDS="1",
        ENVIRONMENT="production",
        ALLOWED_HOSTS="127.0.0.1",
        DEFAULT_FROM_EMAIL="orders@example.com",
        API_HTTPS_REDIRECT="false",
    )
    ports = {name: find_free_port() for name in ("relay", "worker")}
    web = service.start_web()
    relay = service.start_relay(METRICS_PORT=str(ports["relay"]))
    service.env["METRICS_PORT"] = str(ports["worker"])
    worker = service.start_worker()
    assert web.is_running
    assert relay.is_running

    order = service.shop.order()
    mail = mail_server.wait_for(order["number"])

    # One trace, each step below the one that led to it.
    wait_until(lambda: collector.has(STEPS), f"spans of {sorted(STEPS)}")
    trace = collector.trace_of("smtp send")
    assert trace["smtp send"].parent_id == trace[f"run {TASK}"].span_id
    assert {trace[f"{step} {TASK}"].parent_id for step in ("publish", "run")} == {trace[f"enqueue {TASK}"].span_id}

    # One trail.
    message_id = mail.message_id.strip("<>").partition("@")[0]
    [finished] = logged(web, "request", "POST /orders/")
    wait_until(lambda: " succeeded in " in worker.output, "the last line")
    inside = [line for line in logged(worker, "message_id", message_id) if "order_id" in line]
    assert finished["order_id"] == order["order_id"]
    assert finished["code"] == 201
    assert inside
    for line in inside:
        trail = ("request_id", "user_id", "order_id")
        assert {name: str(line[name]) for name in trail} == {name: str(finished[name]) for name in trail}
    assert "demo@example.com" not in web.output + relay.output + worker.output

    # Counted, under the same names on every broker.
    wait_until(lambda: 'anybroker_processes{kind="worker"} 1.0' in metrics(service.port), "the worker's heartbeat")
    seen = metrics(service.port)
    assert f'anybroker_outbox_messages{{queue="{service.queue}",state="done"}} 1.0' in seen
    assert "anybroker_broker_up 1.0" in seen
    assert f'anybroker_broker_messages{{queue="{service.queue}",state="waiting"}} 0.0' in seen
    assert f'anybroker_enqueued_total{{task="{TASK}"}} 1.0' in seen
    assert 'django_http_requests_total_by_method_total{method="POST"} 1.0' in seen
    assert f'anybroker_published_total{{queue="{service.queue}"}} 1.0' in metrics(ports["relay"])
    worked = metrics(ports["worker"])
    assert f'anybroker_attempts_total{{outcome="complete",task="{TASK}"}} 1.0' in worked
    assert "anybroker_claim_seconds_count 1.0" in worked
    assert "anybroker_settle_seconds_count 1.0" in worked


@pytest.mark.databases("postgresql")
def test_a_frozen_broker_does_not_keep_a_scrape_waiting(service: Service, broker: EmbeddedBroker) -> None:
    service.env.update(METRICS_NETWORKS="127.0.0.0/8")
    service.start_web()
    broker.freeze()

    answer = requests.get(f"http://127.0.0.1:{service.port}/metrics", timeout=6)

    assert "anybroker_broker_up 0.0" in answer.text
    assert "anybroker_database_up 1.0" in answer.text


@pytest.mark.brokers("redis")
@pytest.mark.databases("postgresql")
def test_metrics_are_for_those_who_may_read_them(service: Service) -> None:
    service.env.update(METRICS_TOKEN=TOKEN, METRICS_NETWORKS="10.0.0.0/8")
    service.start_web()
    url = f"http://127.0.0.1:{service.port}/metrics"

    assert requests.get(url, timeout=10).status_code == 403
    assert requests.get(url, headers={"Authorization": "Bearer wrong"}, timeout=10).status_code == 403
    assert requests.get(url, headers=BEARER, timeout=10).status_code == 200


@pytest.mark.brokers("redis")
@pytest.mark.databases("postgresql")
def test_a_port_that_is_taken_ends_the_relay_with_its_name(service: Service) -> None:
    service.env.update(METRICS_TOKEN=TOKEN)
    web = service.start_web()
    relay = service.start_relay(wait=False, METRICS_PORT=web.env["WEB_BIND"].rpartition(":")[2])

    wait_until(lambda: not relay.is_running, "the relay to end")
    assert "cannot be listened on" in relay.output
    assert "Traceback" not in relay.output


@pytest.mark.django_db
def test_a_row_whose_headers_nobody_can_read_does_not_stop_the_relay() -> None:
    message_id = add()
    Message.objects.update(headers="no JSON")

    with Tracing().publishing("default", [TaskMessage(message_id, TASK)]):
        pass


def test_what_a_killed_program_shared_is_removed_by_the_next_one() -> None:
    share = "from settings.telemetry import share_metrics, VARIABLE; import os; share_metrics(); "
    killed = f"{share} print(os.environ[VARIABLE], flush=True); os._exit(1)"
    done = subprocess.run([sys.executable, "-c", killed], cwd=PROJECT_ROOT, capture_output=True, text=True)
    left = Path(done.stdout.strip())
    assert left.is_dir()

    subprocess.run([sys.executable, "-c", share], cwd=PROJECT_ROOT, check=True)

    assert not left.exists()
