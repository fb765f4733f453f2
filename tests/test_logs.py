"""What a line of the log says, and what it must not."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars

from app.telemetry import logs
from app.telemetry.log_context import LogContext
from settings import PROJECT_ROOT
from tests.harness.environment import child_environment


@pytest.fixture
def json_line(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Log something as production does, and return the line."""
    configuration = logs.configure(as_json=True, level="INFO")["formatters"]["line"]
    line = configuration.pop("()")(**configuration)

    def log(message: str, *args: Any, **extra: Any) -> dict[str, Any]:
        failed = extra.pop("exc_info", None)
        record = logging.LogRecord("tests", logging.INFO, __file__, 1, message, args, failed)
        record.__dict__.update(extra)
        return dict(json.loads(line.format(record)))

    yield log
    logs.configure(as_json=False, level="INFO")


def test_addresses_are_masked_wherever_they_are(json_line: Any) -> None:
    try:
        raise ValueError("{'jane.doe+shop@example.co.uk': (550, b'no such user')}")
    except ValueError:
        line = json_line("Cannot send to %s", "jane.doe@example.com", exc_info=sys.exc_info())

    assert line["event"] == "Cannot send to j***@example.com"
    assert "jane.doe" not in str(line)
    assert "j***@example.co.uk" in line["exception"]


def test_a_line_of_celerys_names_its_message(json_line: Any) -> None:
    assert json_line("Task x succeeded", data={"id": "0192"})["message_id"] == "0192"


def test_what_travels_with_a_message_is_known_and_short() -> None:
    with bound_contextvars(request_id="r" * 9000, user_id=7, ip="127.0.0.1"):
        assert LogContext().headers("task") == {"log": {"request_id": "r" * 100, "user_id": "7"}}
    assert LogContext().headers("task") == {}


def test_an_error_is_reported_where_sentry_dsn_says(tmp_path: Path) -> None:
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.path.encode() + self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = child_environment(
            tmp_path,
            DATABASE_URL=f"sqlite:///{tmp_path}/db.sqlite3",
            SENTRY_DSN=f"http://key@127.0.0.1:{server.server_address[1]}/1",
        )
        code = "import logging; logging.getLogger('orders').error('something is wrong')"
        command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", code]
        subprocess.run(command, env=environment, cwd=PROJECT_ROOT, check=True, timeout=60)
        server.shutdown()

    assert any(b"/api/1/envelope/" in body for body in received)


def test_a_log_file_gets_what_would_go_to_stderr(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    log = f"app.log.setup('INFO', {str(file)!r}); logging.info('hello')"
    code = f"import logging, django; django.setup(); from app.celery import app; {log}"
    environment = child_environment(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=PROJECT_ROOT, capture_output=True, check=True
    )
    assert "hello" in file.read_text()
    assert "hello" not in done.stderr.decode()
