"""gunicorn reads this file by itself: the command is `gunicorn app.wsgi`, in this directory."""

import signal
import sys
from pathlib import Path

from django.conf import settings
from django.db import connection
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from app.settings import LOGGING, SERVICE
from app.web_server import BufferingWorker
from settings import connections
from settings.base import load
from settings.errors import SettingsError
from settings.web import WebSettings

try:
    (web,) = load(WebSettings)
except SettingsError as error:
    sys.exit(str(error))


def when_ready(server: Arbiter) -> None:
    """Name users with passwords that everybody knows, before anybody is let in."""
    from app.checks import find_trial_users  # it needs Django, which is loaded by now

    if SERVICE.is_production:
        for name in find_trial_users():
            server.log.error("The user %r has a password that everybody knows. manage.py changepassword %s", name, name)
        connection.close()  # the workers make their own


def post_worker_init(worker: Worker) -> None:
    """Make a worker ignore Ctrl-C, so that it ends only when the master tells it to.

    A terminal sends Ctrl-C to both, and the worker would leave requests unanswered.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


bind = web.bind
worker_class = BufferingWorker
BufferingWorker.receive_seconds = web.receive_seconds
BufferingWorker.path_prefix = SERVICE.script_name
BufferingWorker.max_body = settings.DATA_UPLOAD_MAX_MEMORY_SIZE or sys.maxsize
# SQLite has one write lock, and a writer that waits for it sleeps in growing steps: one process is faster than several.
workers = 1 if connections.is_sqlite(SERVICE.databases["default"]) else web.processes
threads = web.threads
worker_connections = web.connections
keepalive = web.keep_alive_seconds
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
