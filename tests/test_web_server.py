"""gunicorn as `gunicorn.conf.py` sets it up, in processes of its own."""

import json
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from app.first_run.processes import find_free_port
from settings import PROJECT_ROOT
from tests.harness.environment import child_environment
from tests.harness.waiting import wait_until

Gunicorn = Callable[..., subprocess.Popen[str]]

POSTGRESQL = "postgresql://nobody@localhost/none"


@pytest.fixture
def gunicorn(tmp_path: Path) -> Gunicorn:
    """Start `gunicorn app.wsgi` with options and variables; the database is an empty SQLite file."""

    def start(*options: str, **variables: str) -> subprocess.Popen[str]:
        variables = {"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3", **variables}
        return subprocess.Popen(
            ["gunicorn", *options, "app.wsgi"],
            cwd=PROJECT_ROOT,
            env=child_environment(tmp_path, **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.mark.parametrize(("url", "processes"), [("", "1"), (POSTGRESQL, "4")], ids=["sqlite", "postgresql"])
def test_sqlite_is_served_by_one_process(gunicorn: Gunicorn, url: str, processes: str) -> None:
    variables = {"DATABASE_URL": url} if url else {}
    printed, _ = gunicorn("--print-config", WEB_PROCESSES="4", **variables).communicate(timeout=30)
    options = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    assert {name.strip(): value.strip() for name, value in options.items()}["workers"] == processes


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"BROKER": "rabitmq"}, "BROKER='rabitmq' is not a known broker"),
        ({"WEB_THREADS": "many"}, "WEB_THREADS='many' is not a whole number"),
    ],
)
def test_a_mistake_ends_the_server_with_its_message(
    gunicorn: Gunicorn, variables: dict[str, str], message: str
) -> None:
    server = gunicorn(**variables)
    said, _ = server.communicate(timeout=30)
    assert server.returncode == 1
    assert said.startswith(message)
    assert len(said.splitlines()) == 1


def test_requests_are_logged_and_health_checks_are_not(gunicorn: Gunicorn) -> None:
    port = find_free_port()
    server = gunicorn(WEB_BIND=f"127.0.0.1:{port}")
    try:
        wait_until(lambda: answers(port, "/health/live") == 200, "The server answers")
        assert answers(port, "/nowhere") == 404
    finally:
        server.send_signal(signal.SIGTERM)
        said, _ = server.communicate(timeout=30)
    assert server.returncode == 0
    assert "code=404" in said
    assert "request='GET /nowhere'" in said
    assert "/health" not in said


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /products/?search=" + b"x" * 9000 + b" HTTP/1.1", 414),
        (b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 70_000, 431),
        (b"NONSENSE", 400),
        (b"POST /orders/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", 400),
        (b"POST /orders/ HTTP/1.0\r\nTransfer-Encoding: chunked", 400),
        (b"POST /orders/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked", 501),
        (b"POST /orders/ HTTP/1.1\r\nContent-Length: 5, 6", 400),
        (b"POST /orders/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5000000", 413),
    ],
)
def test_what_never_reaches_django_is_answered_with_a_problem_too(
    gunicorn: Gunicorn, request_line: bytes, status: int
) -> None:
    port = find_free_port()
    server = gunicorn(WEB_BIND=f"127.0.0.1:{port}")
    try:
        wait_until(lambda: answers(port, "/health/live") == 200, "The server answers")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(request_line + b"\r\nHost: localhost\r\n\r\n")
            head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    assert b"Content-Type: application/problem+json" in head
    assert json.loads(body)["status"] == status


def answers(port: int, path: str) -> int | None:
    """The status that a GET is answered with, None while nobody listens."""
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
    except requests.ConnectionError:
        return None
