"""gunicorn reads this file by itself: the command is `gunicorn app.wsgi`, in this directory."""

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
    """Answer a request that gunicorn refuses (malformed, too long) with a problem, as `app/api/problems.py` does."""
    code = reason.lower().replace(" ", "_")
    problem = {"type": "about:blank", "title": reason, "status": status, "code": code, "detail": message or reason}
    body = json.dumps(problem)
    headers = ["Connection: close", "Content-Type: application/problem+json", f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"HTTP/1.1 {status} {reason}", *headers, "", ""])
    util.write_nonblock(client, (head + body).encode("latin-1"))


util.write_error = write_problem  # gunicorn has no setting for it


def post_worker_init(worker: Worker) -> None:
    """Make a worker ignore Ctrl-C, so that it ends only when the master tells it to.

    A terminal sends Ctrl-C to both, and the worker would get two signals. The second handler may need a lock that the
    first one holds (gthread.py, `handle_quit`): the worker would hang until the master kills it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


bind = web.bind
worker_class = "gthread"
# SQLite has one write lock, and a writer that waits for it sleeps in growing steps: one process is faster than several.
workers = 1 if connections.is_sqlite(SERVICE.databases["default"]) else web.processes
threads = web.threads
# The most that gunicorn allows: filters and cursors are part of the address.
limit_request_line = 8190
graceful_timeout = web.graceful_stop_seconds

# The application is loaded before the workers are forked. So a mistake in the settings ends the server with a message.
# Otherwise workers that cannot start would be replaced again and again.
preload_app = True

# Heartbeat files are kept in memory, because a slow disk stalls a worker. None: the usual temporary directory.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# We stop and restart the server by signals. Its control socket would be a file in the home directory.
control_socket_disable = True

# gunicorn's lines look like all others. Django logs the requests, because it knows the user.
logconfig_dict = {**LOGGING, "loggers": {"gunicorn.error": {"level": SERVICE.log_level, "propagate": True}}}
