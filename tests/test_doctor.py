"""`manage.py doctor` with real servers that are stopped, frozen or misconfigured."""

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from app.doctor import environment, mail, outbox, processes
from app.first_run.embedded import EmbeddedBroker
from brokers import Finding
from outbox.heartbeat import Heart
from outbox.models import Heartbeat, Message
from settings import PROJECT_ROOT
from tests.harness.broker_settings import misconfigured
from tests.harness.databases import PostgresDatabase
from tests.harness.service import Service
from tests.harness.smtp import MailServer
from tests.harness.tls import Authority
from tests.harness.waiting import wait_until
from tests.outbox_rows import add, die, publish

#: Whatever hangs, people are told what by then; the rest of ten seconds is for starting Python and Django.
TOLD_SECONDS = 8

#: By when it has ended: on a machine that is busy with other tests even Python takes seconds to start.
ENDED_SECONDS = 30

#: The tests' PostgreSQL is in a hurry.
HARMLESS = {"fsync"}


@dataclass(frozen=True)
class Diagnosis:
    """What `manage.py doctor --json` said."""

    status: int
    findings: list[dict[str, str]]

    @property
    def trouble(self) -> list[dict[str, str]]:
        return [each for each in self.findings if each["level"] != "ok" and each["name"] not in HARMLESS]

    def __contains__(self, words: str) -> bool:
        """Whether one of the troubles says so, in problem or cure."""
        return any(words in f"{each['area']} {each['name']}: {each['message']} {each['cure']}" for each in self.trouble)


def diagnose(service: Service) -> Diagnosis:
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        env=service.env,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=ENDED_SECONDS,
    )
    assert "Traceback" not in done.stderr
    said = json.loads(done.stdout)
    assert said["seconds"] < TOLD_SECONDS
    return Diagnosis(done.returncode, said["findings"])


@pytest.fixture
def prepared(service: Service) -> Service:
    """Its queues exist, and nothing runs."""
    service.manage("relay", "--once")
    return service


# --- the whole --------------------------------------------------------------------------------------------------------


def test_a_service_in_operation_is_well(service: Service) -> None:
    service.env.update(OUTBOX_HEARTBEAT_SECONDS="1")
    service.start()
    service.start_beat()

    wait_until(lambda: not diagnose(service).trouble, "no trouble")

    diagnosis = diagnose(service)
    areas = {each["area"] for each in diagnosis.findings}
    assert areas == {"environment", "database", "broker", "outbox", "processes", "mail"}
    assert diagnosis.status == any(each["level"] == "fail" for each in diagnosis.findings)
    assert "hunter2" not in str(diagnosis)


@pytest.mark.brokers("redis")
def test_each_trouble_has_a_cure_and_each_kind_of_process_that_is_missing_is_named(prepared: Service) -> None:
    diagnosis = diagnose(prepared)

    assert diagnosis.status == 1
    assert all(each["cure"] for each in diagnosis.trouble)
    assert "relay: None is alive: nothing is published. Start one: manage.py relay" in diagnosis
    assert "worker: None is alive: nothing is run." in diagnosis
    assert "beat: None is alive" in diagnosis
    assert {each["area"] for each in diagnosis.trouble} == {"processes"}


# --- the broker -------------------------------------------------------------------------------------------------------


@pytest.mark.databases("postgresql")
@pytest.mark.parametrize("fault", ["stopped", "frozen"])
def test_a_broker_that_is_away_is_named_with_its_cure(fault: str, prepared: Service, broker: EmbeddedBroker) -> None:
    broker.stop() if fault == "stopped" else broker.freeze()

    diagnosis = diagnose(prepared)

    assert diagnosis.status == 1
    assert f"Cannot reach {prepared.profile.address}" in diagnosis
    assert prepared.profile.reach_hint in diagnosis
    assert ("connection refused" if fault == "stopped" else "no answer") in diagnosis


@pytest.mark.databases("postgresql")
def test_a_misconfigured_broker_is_named_with_its_cure(prepared: Service) -> None:
    with misconfigured(prepared) as (words, cure):
        diagnosis = diagnose(prepared)
    assert diagnosis.status == 1
    assert words in diagnosis
    assert cure in diagnosis


# --- the database -----------------------------------------------------------------------------------------------------


@pytest.mark.brokers("redis")
@pytest.mark.databases("postgresql")  # a file cannot be frozen
def test_a_frozen_database_is_named_and_so_is_the_rest(prepared: Service, database: PostgresDatabase) -> None:
    try:
        database.server.freeze()
        diagnosis = diagnose(prepared)
    finally:
        database.server.thaw()
    assert "database: The database says" in diagnosis or "database time: No answer in time." in diagnosis
    assert any(each["area"] == "broker" and each["level"] == "ok" for each in diagnosis.findings)


@pytest.mark.brokers("redis")
@pytest.mark.databases("postgresql")
def test_what_breaks_a_promise_of_postgresql_is_named(prepared: Service, database: PostgresDatabase) -> None:
    name = database.url.rpartition("/")[2]
    database.server.execute("ALTER DATABASE {} SET synchronous_commit = 'off'", name)
    prepared.manage("migrate", "outbox", "zero")

    diagnosis = diagnose(prepared)

    assert f"ALTER DATABASE \"{name}\" SET synchronous_commit = 'on';" in diagnosis
    assert "synchronous_commit: off: a crash of the server loses orders it has confirmed." in diagnosis
    assert "are not applied" in diagnosis
    assert [each["level"] for each in diagnosis.findings if each["name"] == "fsync"] == ["fail"]


# --- the mail server --------------------------------------------------------------------------------------------------


def look_at_mail(settings: Any, port: int, **options: Any) -> str:
    """What is found when EMAIL_URL leads to `port`."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    for name, value in options.items():
        setattr(settings, f"EMAIL_{name.upper()}", value)
    return "\n".join(f"{each.level} {each.name}: {each.message} {each.cure}" for each in mail.examine())


def test_a_mail_server_that_answers_is_well(settings: Any, mail_server: MailServer) -> None:
    found = look_at_mail(settings, mail_server.port)
    assert found.startswith(f"ok reachable: 127.0.0.1:{mail_server.port}, no encryption, without a password")


def test_a_mail_server_that_is_stopped_is_named(settings: Any, mail_server: MailServer) -> None:
    mail_server.stop()
    assert "(Connection refused). Start it, or correct EMAIL_URL." in look_at_mail(settings, mail_server.port)


@pytest.mark.parametrize("options", [{}, {"use_ssl": True}], ids=["plain", "tls"])
def test_a_mail_server_that_is_frozen_is_named_in_time(settings: Any, options: dict[str, bool]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        began = time.monotonic()
        found = look_at_mail(settings, frozen.getsockname()[1], **options)
    assert "(no answer)" in found
    assert time.monotonic() - began < TOLD_SECONDS


def test_a_mail_server_without_tls_or_login_is_named(settings: Any, mail_server: MailServer) -> None:
    assert "587 for smtp+tls://" in look_at_mail(settings, mail_server.port, use_ssl=True)
    settings.EMAIL_USE_SSL = False
    assert "smtp+tls:// needs STARTTLS" in look_at_mail(settings, mail_server.port, use_tls=True)
    settings.EMAIL_USE_TLS = False
    login = {"host_user": "somebody", "host_password": "hunter2"}
    found = look_at_mail(settings, mail_server.port, **login)
    assert "a user needs AUTH" in found
    assert "hunter2" not in found


def test_a_certificate_that_nobody_trusts_is_named(settings: Any, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Authority(tmp_path, "nobody").issue("127.0.0.1"))
    server = MailServer()
    server.start(ssl_context=context)
    try:
        assert "is not trusted" in look_at_mail(settings, server.port, use_ssl=True)
    finally:
        server.stop()


# --- what the database knows ------------------------------------------------------------------------------------------


def said(examine: Callable[[], Any]) -> str:
    found: list[Finding] = list(examine())
    return "\n".join(f"{each.level} {each.name}: {each.message} {each.cure}" for each in found if each.level != "ok")


@pytest.mark.django_db
def test_what_waits_too_long_is_named_with_who_has_to_hurry() -> None:
    add()
    Message.objects.update(wanted_at=F("wanted_at") - timedelta(minutes=14))
    assert "The oldest message has waited 14 min (limit 60 s). Is the relay running? manage.py relay" in said(
        outbox.examine
    )


@pytest.mark.django_db
def test_a_full_window_and_dead_letters_are_named(settings: Any) -> None:
    die()
    publish()
    Message.objects.filter(state="published").update(wanted_at=F("wanted_at") - timedelta(minutes=3))
    settings.OUTBOX = settings.OUTBOX.model_copy(update={"max_in_flight": 1})
    found = said(outbox.examine)
    assert "fail queue default: The oldest message has waited 3 min (limit 60 s). Do workers keep up?" in found.replace(
        "180 s", "3 min"
    )
    assert "The broker holds 1 messages, all it may (OUTBOX_MAX_IN_FLIGHT)." in found
    assert "1 are dead and wait for a decision. manage.py outbox list --state dead" in found


@pytest.mark.django_db
def test_a_queue_that_nobody_relays_or_consumes_is_named() -> None:
    add(queue="forgotten")
    Heart("worker", every_seconds=0).beat(queues=["other"], broker="redis")

    assert "Add forgotten to QUEUES" in said(outbox.examine)
    assert "queue default: No worker consumes it. Start a worker for it: celery -A app worker -Q default" in said(
        processes.examine
    )


@pytest.mark.django_db
def test_a_worker_without_its_broker_or_on_another_one_is_named() -> None:
    Heart("worker", every_seconds=0).beat(queues=["default"], connected=False, broker="rabbitmq")
    found = said(processes.examine)
    assert "is not connected to the broker" in found
    assert "uses rabbitmq, and BROKER=redis here" in found

    Heartbeat.objects.update(seen_at=F("seen_at") - timedelta(minutes=5))
    assert "worker: None is alive: nothing is run." in said(processes.examine)


def test_system_checks_are_part_of_it(settings: Any) -> None:
    settings.OUTBOX = settings.OUTBOX.model_copy(update={"deaf_after_seconds": 1})
    assert "warn outbox.W006: OUTBOX_DEAF_AFTER_SECONDS=1" in said(environment.examine)


@pytest.mark.django_db
def test_what_is_not_meant_for_customers_is_named(settings: Any) -> None:
    settings.SERVICE = settings.SERVICE.model_copy(update={"environment": "production"})
    assert "warn app.W001: EMAIL_URL names no mail server" in said(environment.examine)
