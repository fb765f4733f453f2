"""What each broker can be made to do wrong beside dying: forget everything, or answer no to everything."""

import json
import shutil
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import amqp
import redis

from app.first_run.embedded import PACKAGED_RABBITMQ
from brokers import QueueError
from brokers.sqs.profile import SQSProfile
from tests.harness.docker import DockerRabbitMQ
from tests.harness.site import Site


class BrokerFaults(ABC):
    """The faults of one broker, as `FAULTS[name](site)`."""

    #: How it can say no, each a name that `refusing` knows.
    refusals: tuple[str, ...]

    def __init__(self, site: Site) -> None:
        self.site = site

    @abstractmethod
    def wipe(self) -> None:
        """Make it lose every message, and the queue itself."""

    @abstractmethod
    def refusing(self, how: str) -> Any:
        """While the block runs, let it answer and say no."""

    @abstractmethod
    def refusing_queue(self, queue: str) -> Any:
        """While the block runs, let it say no to whoever uses one queue."""


class RedisFaults(BrokerFaults):
    refusals = ("out of memory",)

    @property
    def _client(self) -> redis.Redis:
        return redis.Redis(port=self.site.broker.port)

    def wipe(self) -> None:
        self._client.flushall()

    @contextmanager
    def refusing(self, how: str) -> Iterator[None]:
        self._client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            self._client.config_set("maxmemory", 0)

    @contextmanager
    def refusing_queue(self, queue: str) -> Iterator[None]:
        self._client.set(queue, "this is no list")
        try:
            yield
        finally:
            self._client.delete(queue)


class RabbitMQFaults(BrokerFaults):
    refusals = ("memory alarm",)

    def wipe(self) -> None:
        with amqp.Connection(f"127.0.0.1:{self.site.broker.port}") as connection:
            connection.channel().queue_delete(self.site.service.queue)

    @contextmanager
    def refusing(self, how: str) -> Iterator[None]:
        self._control("set_vm_memory_high_watermark", "0")
        try:
            yield
        finally:
            self._control("set_vm_memory_high_watermark", "0.9")

    @contextmanager
    def refusing_queue(self, queue: str) -> Iterator[None]:
        """It is of another type than ours, which whoever declares it is told."""
        with amqp.Connection(f"127.0.0.1:{self.site.broker.port}") as connection:
            channel = connection.channel()
            channel.queue_delete(queue)
            channel.queue_declare(queue, durable=True, auto_delete=False)
            try:
                yield
            finally:
                channel.queue_delete(queue)

    def _control(self, *command: str) -> None:
        broker = self.site.broker
        if isinstance(broker, DockerRabbitMQ):
            broker.run_inside("rabbitmqctl", *command)
            return
        program = shutil.which("rabbitmqctl", path=PACKAGED_RABBITMQ) or "rabbitmqctl"
        # The environment of the server leads to its own port mapper, name and cookie.
        subprocess.run([program, *command], env=broker.processes[-1].env, check=True, capture_output=True)


class SQSFaults(BrokerFaults):
    refusals = ("throttled", "access denied")

    #: Names of errors as status, code and the word of the newer protocol.
    _ERRORS = {
        "throttled": (400, "RequestThrottled"),
        "access denied": (403, "AccessDeniedException"),
    }

    def wipe(self) -> None:
        profile = self.site.service.profile
        assert isinstance(profile, SQSProfile)
        queues = profile.queues
        with suppress(QueueError):  # it is gone already
            queues.client.delete_queue(QueueUrl=queues.url(self.site.service.queue))

    def refusing(self, how: str) -> AbstractContextManager[None]:
        return self._with_errors(*self._ERRORS[how])

    def refusing_queue(self, queue: str) -> AbstractContextManager[None]:
        return self._with_errors(*self._ERRORS["access denied"], about=queue)

    @contextmanager
    def _with_errors(self, status: int, code: str, *, about: str = "") -> Iterator[None]:
        server = RefusingServer(status, code, about=about, port=self.site.broker.port)
        server.start()
        networks = (self.site.relay_network, self.site.worker_network)
        for network in networks:
            network.redirect(server.port)
        try:
            yield
        finally:
            for network in networks:
                network.redirect(self.site.broker.port)
            server.stop()


class RefusingServer:
    """Answers every request to SQS, or those about the messages of one queue, with an error; others go to `port`."""

    def __init__(self, status: int, code: str, *, about: str, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if about and not self._is_refused(asked.decode()):
                    self._pass_on(asked)
                    return
                body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "not now"}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("x-amzn-query-error", f"{code};Sender")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _is_refused(self, asked: str) -> bool:
                """Whether it would put a message into the queue or take one out."""
                action = self.headers.get("X-Amz-Target", "").rpartition(".")[2] or parse_qs(asked)["Action"][0]
                return about in asked + self.path and action.startswith(("SendMessage", "ReceiveMessage"))

            def _pass_on(self, asked: bytes) -> None:
                connection = HTTPConnection("127.0.0.1", port)
                connection.request("POST", self.path, asked, dict(self.headers))
                answer = connection.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                connection.close()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        class QuietServer(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that is killed in mid-request is what the tests are about."""

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


FAULTS: dict[str, type[BrokerFaults]] = {"redis": RedisFaults, "rabbitmq": RabbitMQFaults, "sqs": SQSFaults}
