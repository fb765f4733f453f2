"""`make run`: the whole service from nothing: an embedded broker, SQLite, a catalogue, web, worker and beat.

Everything lives below `var/`; nothing of the machine's own brokers or databases is touched, except that
`BROKER=rabbitmq` uses the RabbitMQ at RABBITMQ_URL when that variable is set.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from honcho.environ import parse_procfile
from honcho.manager import Manager

from app.embedded import EMBEDDED, EmbeddedBrokerError
from brokers import PROFILES
from settings.base import PROJECT_ROOT

VAR = PROJECT_ROOT / "var"
MAILBOX = VAR / "mail"

WELCOME = """
  The service runs on {broker}.

    make order PORT={port}                post a sample order, see its e-mail
    {url}/orders/      log in as demo / demo (customer) or admin / admin (staff)
    {url}/admin/       the catalogue and the orders
    .venv/bin/python manage.py config     the settings in force

  E-mails are kept in {mailbox} and printed below. Ctrl-C stops everything.
"""


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def manage(*command: str, env: dict[str, str]) -> None:
    """Run a `manage.py` command; its own words explain a failure, so we only stop."""
    if subprocess.run([sys.executable, "manage.py", *command], env=env, cwd=PROJECT_ROOT).returncode:
        sys.exit(1)


def run_processes(env: dict[str, str], mail_port: int) -> int:
    """Run the Procfile and the mailbox under honcho until one of them ends or Ctrl-C; return the exit status."""
    manager = Manager()
    manager.add_process("mail", f"exec {sys.executable} -m app.mailbox --port {mail_port} --directory {MAILBOX}", env=env)
    for name, command in parse_procfile((PROJECT_ROOT / "Procfile").read_text()).processes.items():
        manager.add_process(name, command, env=env)
    manager.loop()
    return manager.returncode or 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=sorted(PROFILES), default="redis")
    parser.add_argument("--port", type=int, default=8000, help="where the service listens on 127.0.0.1 (default: 8000)")
    options = parser.parse_args()
