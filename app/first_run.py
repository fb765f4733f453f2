"""`make run`: the whole service from nothing: an embedded broker, SQLite, a catalogue, web, worker and beat.

Everything lives below `var/`; nothing of the machine's own brokers or databases is touched, except that
`BROKER=rabbitmq` uses the RabbitMQ at RABBITMQ_URL when that variable is set.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import honcho.manager
from honcho.environ import parse_procfile

from app.embedded import EMBEDDED
from app.processes import ServerError, find_free_port, port_is_free
from settings.base import PROJECT_ROOT
from settings.environment import Environment, process_environment

VAR = PROJECT_ROOT / "var"
MAILBOX = VAR / "mail"

#: How long a process may take to end in good order, running tasks included; honcho would kill it after 5 s.
STOP_SECONDS = 30

#: honcho's exit status after Ctrl-C.
INTERRUPTED = 130

WELCOME = """
  The service runs on {broker}.

    make order PORT={port}                post a sample order, see its e-mail
    {url}/orders/      log in as demo / demo (customer) or admin / admin (staff)
    {url}/admin/       the catalogue and the orders
    .venv/bin/python manage.py config     the settings in force

  E-mails are kept in {mailbox} and printed below. Ctrl-C stops everything.
"""


def manage(*command: str, env: dict[str, str]) -> None:
    """Run a `manage.py` command; its own words explain a failure, so we only stop."""
    if subprocess.run([sys.executable, "manage.py", *command], env=env, cwd=PROJECT_ROOT).returncode:
        sys.exit(1)


@contextmanager
def broker_environment(name: str) -> Iterator[dict[str, str]]:
    """The variables that lead to the broker: an embedded one while the block runs, or the user's own RabbitMQ."""
    if name == "rabbitmq" and Environment.read().get("RABBITMQ_URL"):
        yield {"BROKER": name}
        return
    broker = EMBEDDED[name](VAR / "embedded" / name)
    broker.start()
    try:
        yield broker.env
    finally:
        broker.stop()


def run_processes(env: dict[str, str], *, mail_port: int) -> int:
    """Run the Procfile and the mailbox under honcho until one of them ends or Ctrl-C; return the exit status."""
    honcho.manager.KILL_WAIT = STOP_SECONDS
    manager = honcho.manager.Manager()
    mailbox = f"exec {sys.executable} -m app.mailbox --port {mail_port} --directory {MAILBOX}"
    manager.add_process("mail", mailbox, env=env)
    for name, command in parse_procfile((PROJECT_ROOT / "Procfile").read_text()).processes.items():
        manager.add_process(name, command, env=env)
    manager.loop()
    # Ctrl-C is how this is meant to end.
    return 0 if manager.returncode in (None, INTERRUPTED) else manager.returncode


def serve(broker_name: str, port: int) -> int:
    """Start everything and return the exit status once it has all stopped."""
    mail_port = find_free_port()
    with broker_environment(broker_name) as broker_variables:
        env = process_environment(
            WEB_BIND=f"127.0.0.1:{port}", EMAIL_URL=f"smtp://127.0.0.1:{mail_port}", **broker_variables
        )
        manage("migrate", "--verbosity", "0", env=env)
        manage("seed_demo", env=env)
        print(WELCOME.format(broker=broker_name, port=port, url=f"http://127.0.0.1:{port}", mailbox=MAILBOX))  # noqa: T201
        return run_processes(env, mail_port=mail_port)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--broker", choices=sorted(EMBEDDED), default="redis")
    parser.add_argument("--port", type=int, default=8000, help="port of the service on 127.0.0.1 (default: 8000)")
    options = parser.parse_args()
    if not port_is_free(options.port):
        sys.exit(f"Port {options.port} is in use. Choose another: make run PORT={options.port + 1}")
    try:
        sys.exit(serve(options.broker, options.port))
    except ServerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
