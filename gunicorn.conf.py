"""gunicorn reads this file by itself: `gunicorn app.wsgi` in this directory is all there is to type."""

import json
import signal
import socket
import sys
from pathlib import Path

from gunicorn import util
from gunicorn.workers.base import Worker

from app.settings import LOGGING, SERVICE
from settings import connections
from settings.base import load
from settings.errors import SettingsError
from settings.web import WebSettings

try:
    (web,) = load(WebSettings)
except SettingsError as error:
    sys.exit(str(error))


def write_problem(client: socket.socket, status: int, reason: str, message: str) -> None:
    """Answer what cannot be passed on to Django (a malformed or too long request) as `app/api/problems.py` would."""
    code = reason.lower().replace(" ", "_")
    problem = {"type": "about:blank", "title": reason, "status": status, "code": code, "detail": message or reason}
    body = json.dumps(problem)
    headers = ["Connection: close", "Content-Type: application/problem+json", f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"HTTP/1.1 {status} {reason}", *headers, "", ""])
    util.write_nonblock(client, (head + body).encode("latin-1"))


util.write_error = write_problem  # gunicorn has no setting for it


def post_worker_init(worker: Worker) -> None:
    """Let a worker end when the master tells it to, and only then: Ctrl-C in a terminal signals both.

    The signal of the one may find the handler of the other's holding a lock that it needs (gthread.py, `handle_quit`),
    and the worker would hang until the master kills it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


bind = web.bind
worker_class = "gthread"
# SQLite has one write lock, and who waits for it sleeps in growing steps: one process is faster than several.
workers = 1 if connections.is_sqlite(SERVICE.databases["default"]) else web.processes
threads = web.threads
# The most it can be made to read: filters and cursors are part of the address.
limit_request_line = 8190
graceful_timeout = web.graceful_stop_seconds

# The application is loaded before the workers are forked: a mistake in the settings then ends the server with
# its message, where a worker that cannot start would be replaced again and again.
preload_app = True

# Heartbeat files belong in memory: on a slow disk they stall a worker. None is the usual temporary directory.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# We stop and restart the server by signals; its control socket would be written to the home directory.
control_socket_disable = True

# Its lines look like all others. Requests are logged by Django, which knows who made them.
logconfig_dict = {**LOGGING, "loggers": {"gunicorn.error": {"level": SERVICE.log_level, "propagate": True}}}
