"""The web server's processes: gunicorn starts and ends them, waitress in each one reads and writes for the clients.

waitress receives a whole request, head and body, before a thread of the application takes it, and keeps the answer
until the client has read it. So a slow client costs a connection and some memory, and no thread. This file bounds how
long a request may take to arrive, and answers what waitress refuses with a problem.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from gunicorn.workers.base import Worker
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import BaseWSGIServer, TcpWSGIServer, UnixWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import BadRequest

#: The longest request line, in bytes: filters and cursors are part of the address.
MAX_REQUEST_LINE = 8190

#: All headers of a request together, in bytes.
MAX_HEAD = 64 * 1024

#: How long a client that was refused before it had sent everything may take to read the answer. If we closed at once,
#: its system would throw the answer away.
LINGER_SECONDS = 2.0

#: How long a server that stops waits for the next request on a connection that it has promised to keep.
FAREWELL_SECONDS = 2.0


class RequestTimeout(BadRequest):  # type: ignore[misc]
    code = HTTPStatus.REQUEST_TIMEOUT
    reason = HTTPStatus.REQUEST_TIMEOUT.phrase


class RequestLineTooLong(BadRequest):  # type: ignore[misc]
    code = HTTPStatus.REQUEST_URI_TOO_LONG
    reason = HTTPStatus.REQUEST_URI_TOO_LONG.phrase


class Request(HTTPRequestParser):  # type: ignore[misc]
    """Refuses what two servers could read in two ways, and request lines that are too long."""

    first_line = b""
    error: Any = None

    def received(self, data: bytes) -> int:
        consumed = super().received(data)
        if len(self.first_line) > MAX_REQUEST_LINE and not self.error:
            self.error = RequestLineTooLong(f"A request line may have {MAX_REQUEST_LINE} bytes at most.")
            self.completed = True
        if self.error or self.body_rcv is None:
            self.expect_continue = False  # there is nothing to go on with
        return int(consumed)

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("A request has either Content-Length or Transfer-Encoding.")
        if "TRANSFER_ENCODING" in self.headers:
            raise ParsingError("HTTP/1.0 knows no Transfer-Encoding.")


class Refusal(ErrorTask):  # type: ignore[misc]
    """Answers what never reaches Django with a problem, as `app/api/problems.py` does."""

    def execute(self) -> None:
        from app.api.problems import CONTENT_TYPE, problem  # it needs Django, which is loaded after this file

        error = self.request.error
        body = json.dumps(problem(int(error.code), error.body)).encode()
        self.status = f"{int(error.code)} {HTTPStatus(error.code).phrase}"
        self.response_headers.append(("Content-Type", CONTENT_TYPE))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Answer(WSGITask):  # type: ignore[misc]
    def start(self) -> None:
        super().start()
        if self.channel.server.stopping_since is not None:
            self.set_close_on_finish()

    def write(self, data: bytes) -> None:
        """Send the head alone to HEAD. Django leaves that to the server, and waitress would send the body too."""
        if self.request.command != "HEAD":
            super().write(data)
            return
        super().write(b"")
        self.chunked_response = False  # not even the end of one


class Connection(HTTPChannel):  # type: ignore[misc]
    """A client's connection. The methods run in the thread of the loop."""

    task_class = Answer
    error_task_class = Refusal
    parser_class = Request

    #: The request that is arriving.
    request: Any = None
    #: Whether the last request was refused. Then the rest of what the client sends is thrown away.
    refused = False
    #: Since when we are only waiting for the client to have read the refusal.
    drained_since: float | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        #: Since when we have been waiting for the end of a request. None: between two requests.
        self.waiting_since: float | None = time.monotonic()
        self.arriving: Request | None = None
        super().__init__(*args, **options)

    def received(self, data: bytes) -> bool:
        taken = super().received(data)
        if self.request is None:
            self.waiting_since = None
        elif self.request is not self.arriving:
            self.waiting_since = time.monotonic()
        self.arriving = self.request
        self.refused = any(each.error for each in self.requests)
        return bool(taken)

    def check_time(self, now: float, *, receive_seconds: float) -> None:
        """Refuse a request that takes too long to arrive; close a connection on which none has begun."""
        if self.drained_since is not None:
            self.will_close = now - self.drained_since > LINGER_SECONDS
        elif self.requests:
            # What arrives meanwhile is read when the present request has been answered.
            self.waiting_since = self.waiting_since and now
        elif self.waiting_since is not None and now - self.waiting_since > receive_seconds:
            if self.request is None:
                self.will_close = True
            else:
                self.refuse(self.request, f"A request must arrive within {receive_seconds:g} seconds.")

    def refuse(self, request: Request, detail: str) -> None:
        with self.requests_lock:
            request.error, request.completed = RequestTimeout(detail), True
            self.request, self.arriving, self.waiting_since, self.refused = None, None, None, True
            self.requests.append(request)
        self.server.add_task(self)

    @property
    def is_idle(self) -> bool:
        return not (self.requests or self.request or self.total_outbufs_len)

    def readable(self) -> bool:
        return self.drained_since is not None or bool(super().readable())

    def handle_read(self) -> None:
        if self.drained_since is None:
            super().handle_read()
        else:
            self.recv(self.adj.recv_bytes)  # closes at the end

    def handle_close(self) -> None:
        if self.refused and self.drained_since is None:
            self.drained_since, self.will_close = time.monotonic(), False
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
        else:
            super().handle_close()


class Listener(BaseWSGIServer):  # type: ignore[misc]
    """One address at which the server listens."""

    channel_class = Connection
    receive_seconds = 10.0
    stopping_since: float | None = None

    def maintenance(self, now: float) -> None:
        super().maintenance(now)
        time_now = time.monotonic()
        leaving = self.stopping_since is not None and time_now - self.stopping_since > FAREWELL_SECONDS
        for connection in self.connections:
            connection.check_time(time_now, receive_seconds=self.receive_seconds)
            if leaving and connection.is_idle and connection.drained_since is None:
                connection.will_close = True

    @property
    def connections(self) -> list[Connection]:
        return list(self.active_channels.values())

    def stop(self) -> None:
        """Let no new client in. Who is connected gets answers, and is told to come back on a new connection."""
        self.stopping_since = time.monotonic()
        self.del_channel()
        self.socket.close()


class TcpListener(Listener, TcpWSGIServer):  # type: ignore[misc]
    pass


class UnixListener(Listener, UnixWSGIServer):  # type: ignore[misc]
    pass


class BufferingWorker(Worker):  # type: ignore[misc]
    """gunicorn's worker class. It knows `threads`, `worker_connections`, `keepalive`, `graceful_timeout`, `backlog`."""

    listeners: tuple[Listener, ...] = ()
    #: Set by gunicorn.conf.py.
    receive_seconds = 10
    max_body = 1024 * 1024
    path_prefix = ""

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.max_requests:
            log.warning("max_requests means nothing here: our processes are not replaced after a number of requests.")

    def run(self) -> None:
        self.map: dict[int, Any] = {}
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(self.cfg.threads)
        self.listeners = tuple(self._listen(dispatcher))
        # Requests that wait for a thread are no news.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        while self.alive and self.ppid == os.getppid():
            self._turn()
        for listener in self.listeners:
            listener.stop()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while any(each.connections for each in self.listeners) and time.monotonic() < deadline:
            self._turn()
            for listener in self.listeners:
                listener.maintenance(time.time())

    def _turn(self) -> None:
        self.notify()
        wasyncore.loop(timeout=1, use_poll=True, map=self.map, count=1)

    def _listen(self, dispatcher: ThreadedTaskDispatcher) -> Iterator[Listener]:
        options = Adjustments(
            url_prefix=self.path_prefix,
            connection_limit=self.cfg.worker_connections,
            channel_timeout=self.cfg.keepalive,
            backlog=self.cfg.backlog,
            cleanup_interval=1,
            max_request_header_size=MAX_HEAD,
            max_request_body_size=self.max_body + 1,
            # app/api/client_address.py judges what proxies say.
            clear_untrusted_proxy_headers=False,
            log_socket_errors=False,
            ident=None,
        )
        for each in self.sockets:
            kind = UnixListener if each.family == socket.AF_UNIX else TcpListener
            place = (each.family, each.type, each.proto, each.getsockname())
            listener = kind(
                self.wsgi, self.map, True, each, dispatcher=dispatcher, adj=options, sockinfo=place, bind_socket=False
            )
            listener.receive_seconds = self.receive_seconds
            yield listener

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        for listener in self.listeners:
            listener.pull_trigger()
