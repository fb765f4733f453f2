"""`make run`: the whole service from nothing: an embedded broker, SQLite, a catalogue, web, worker and beat.

All files are below `--directory`. Brokers and databases of the machine are not touched, with one exception: if
RABBITMQ_URL is set, `BROKER=rabbitmq` uses the RabbitMQ at that address.
"""

import argparse
import io
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import honcho.manager
from honcho.environ import parse_procfile
from honcho.printer import Message, Printer

from app.first_run.embedded import EMBEDDED
from app.first_run.processes import ServerError, find_free_port, port_is_free
from settings.base import PROJECT_ROOT
from settings.environment import Environment, process_environment

#: How long a process may take to end in good order, running tasks included; honcho would kill it after 5 s.
STOP_SECONDS = 30

#: honcho's exit status after Ctrl-C, and after SIGTERM.
INTERRUPTED, TERMINATED = 130, 143

WELCOME = """
  The service runs on {broker}.

    make order PORT={port}                post a sample order, see its e-mail
    {url}/console/     what happens, live: log in as admin / admin (staff)
    {url}/orders/      log in as demo / demo (customer)
    {url}/admin/       the catalogue and the orders
    .venv/bin/python manage.py config     the settings in force

  E-mails are kept in {mailbox} and printed below. Ctrl-C stops everything.
"""


def manage(*command: str, env: dict[str, str]) -> None:
    """Run a `manage.py` command. If it fails, exit: it has printed the reason itself."""
    if subprocess.run([sys.executable, "manage.py", *command], env=env, cwd=PROJECT_ROOT).returncode:
        sys.exit(1)


@contextmanager
def broker_environment(name: str, directory: Path) -> Iterator[dict[str, str]]:
    """Lend the variables of the broker: an embedded one that runs during the block, or the user's own RabbitMQ."""
    if name == "rabbitmq" and Environment.read().get("RABBITMQ_URL"):
        yield {"BROKER": name}
        return
    broker = EMBEDDED[name](directory / "embedded" / name)
    broker.start()
    try:
        yield broker.env
    finally:
        broker.stop()


class LastingPrinter(Printer):  # type: ignore[misc]
    """Prints the output of the processes, and stops them when the output cannot be written any more.

    The reader of a pipe, or the terminal, may end before us, even at the same Ctrl-C. An error in honcho's loop would
    leave its processes running without a parent.
    """

    def write(self, message: Message) -> None:
        try:
            super().write(message)
        except OSError:
            self.output = io.StringIO()
            os.kill(os.getpid(), signal.SIGTERM)
        except RuntimeError:  # a signal came while a line was being printed; the signal must still work
            pass


def run_processes(env: dict[str, str], *, mail_port: int, mails: Path) -> int:
    """Run the Procfile and the mailbox under honcho until one of them ends or Ctrl-C; return the exit status."""
    honcho.manager.KILL_WAIT = STOP_SECONDS
    manager = honcho.manager.Manager(LastingPrinter(sys.stdout))
    mailbox = [sys.executable, "-m", "app.first_run.mailbox", "--port", str(mail_port), "--directory", str(mails)]
    manager.add_process("mail", f"exec {shlex.join(mailbox)}", env=env)
    for name, command in parse_procfile((PROJECT_ROOT / "Procfile").read_text()).processes.items():
        manager.add_process(name, command, env=env)
    # SIGHUP: the terminal was closed. honcho handles only SIGINT and SIGTERM.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    manager.loop()
    # Ending by one of these signals is no failure.
    return 0 if manager.returncode in (None, INTERRUPTED, TERMINATED) else manager.returncode


def serve(broker_name: str, port: int, directory: Path) -> int:
    """Start everything. Return the exit status when everything has stopped."""
    mail_port, mails = find_free_port(), directory / "mail"
    with broker_environment(broker_name, directory) as broker_variables:
        env = process_environment(
            WEB_BIND=f"127.0.0.1:{port}", EMAIL_URL=f"smtp://127.0.0.1:{mail_port}", **broker_variables
        )
        manage("migrate", "--verbosity", "0", env=env)
        manage("seed_demo", env=env)
        print(WELCOME.format(broker=broker_name, port=port, url=f"http://127.0.0.1:{port}", mailbox=mails))  # noqa: T201
        return run_processes(env, mail_port=mail_port, mails=mails)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--broker", choices=sorted(EMBEDDED), default="redis")
    parser.add_argument("--port", type=int, default=8000, help="port of the service on 127.0.0.1 (default: 8000)")
    parser.add_argument(
        "--directory", type=Path, default=PROJECT_ROOT / "var", help="for the broker's files and e-mails (default: var)"
    )
    options = parser.parse_args()
    if not port_is_free(options.port):
        sys.exit(f"Port {options.port} is in use. Choose another: make run PORT={options.port + 1}")
    try:
        sys.exit(serve(options.broker, options.port, options.directory.absolute()))
    except ServerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:  # before the processes were started
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
