"""Clients that send slowly, or half a request and nothing more: gunicorn with our worker, on a database of its own."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from app.first_run.processes import find_free_port
from settings import PROJECT_ROOT
from tests.harness.databases import Database
from tests.harness.environment import child_environment
from tests.harness.waiting import wait_until

#: How long a request may take to arrive, in these tests.
RECEIVE_SECONDS = 3

#: Far more than the threads of a process (8).
CROWD = 50

ORDER = json.dumps({"items": [{"product": "DRIPPER", "quantity": 1}]}).encode()


class Web:
    """A web server, and a client of it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, token: str) -> None:
        self.process, self.port, self.token = process, port, token
        self.url = f"http://127.0.0.1:{port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def head(self, line: str, *headers: str) -> bytes:
        common = ["Host: localhost", f"Authorization: Token {self.token}", "Content-Type: application/json"]
        return "\r\n".join([line, *common, *headers, "", ""]).encode()

    def live(self) -> float:
        """The seconds that it takes to say that it is alive."""
        began = time.monotonic()
        assert requests.get(f"{self.url}/health/live", timeout=10).status_code == 200
        return time.monotonic() - began

    def place_order(self, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"}
        return requests.post(f"{self.url}/orders/", headers=headers, timeout=20, **({"data": ORDER} | options))


def read_answer(client: socket.socket) -> tuple[int, dict[str, Any]]:
    head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@contextmanager
def served(database: Database, directory: Path, **variables: str) -> Iterator[Web]:
    port = find_free_port()
    variables = {"WEB_RECEIVE_SECONDS": str(RECEIVE_SECONDS), "WEB_BIND": f"127.0.0.1:{port}", **variables}
    environment = child_environment(directory, DATABASE_URL=database.url, **variables)
    process = subprocess.Popen(["gunicorn", "app.wsgi"], cwd=PROJECT_ROOT, env=environment)
    web = Web(process, port, database.token)
    try:
        wait_until(lambda: is_up(web), "The server answers")
        yield web
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def is_up(web: Web) -> bool:
    try:
        return web.live() >= 0
    except requests.ConnectionError:
        return False


@pytest.fixture
def web(database: Database, tmp_path: Path) -> Iterator[Web]:
    with served(database, tmp_path) as web:
        yield web


def half_requests(web: Web) -> list[bytes]:
    whole = web.head("POST /orders/ HTTP/1.1", f"Content-Length: {len(ORDER)}")
    chunked = web.head("POST /orders/ HTTP/1.1", "Transfer-Encoding: chunked")
    return [b"", b"GET /health/live HT", whole[: len(whole) // 2], whole + ORDER[:10], chunked + b"5\r\n{}"]


@pytest.mark.databases("sqlite")
def test_half_requests_stop_nothing_and_are_ended(web: Web) -> None:
    with ExitStack() as stack:
        halves = half_requests(web)
        clients = [stack.enter_context(web.connect()) for _ in range(CROWD)]
        for number, client in enumerate(clients):
            client.sendall(halves[number % len(halves)])
        began = time.monotonic()
        while time.monotonic() - began < RECEIVE_SECONDS + 3:
            assert web.live() < 2
        assert web.place_order().status_code == 201
        for number, client in enumerate(clients):
            if number % len(halves) == 0:
                assert client.recv(100) == b""
            else:
                status, problem = read_answer(client)
                assert (status, problem["code"]) == (408, "request_timeout")


def test_half_a_body_holds_no_lock(web: Web) -> None:
    with ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(web.connect())
            client.sendall(web.head("POST /orders/ HTTP/1.1", f"Content-Length: {len(ORDER)}") + ORDER[:-1])
        began = time.monotonic()
        assert web.place_order().status_code == 201
        assert time.monotonic() - began < RECEIVE_SECONDS - 1


@pytest.mark.databases("sqlite")
def test_a_body_that_arrives_byte_by_byte_in_time_is_one_request(web: Web) -> None:
    with web.connect() as client:
        client.sendall(web.head("POST /orders/ HTTP/1.1", f"Content-Length: {len(ORDER)}", "Connection: close"))
        for byte in ORDER:
            client.sendall(bytes([byte]))
            time.sleep(0.01)
        assert read_answer(client)[0] == 201


@pytest.mark.databases("sqlite")
def test_one_byte_a_second_does_not_buy_more_time(web: Web) -> None:
    began = time.monotonic()
    with web.connect() as client:
        client.settimeout(1)
        client.sendall(web.head("POST /orders/ HTTP/1.1", f"Content-Length: {len(ORDER)}"))
        answer = b""
        for byte in ORDER:
            client.sendall(bytes([byte]))
            try:
                answer = client.recv(10_000)
                break
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < RECEIVE_SECONDS + 3


@pytest.mark.databases("sqlite")
def test_a_connection_is_kept_between_requests_for_longer_than_a_request_may_take(web: Web) -> None:
    with web.connect() as client:
        for _ in range(2):
            client.sendall(b"HEAD /products/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = client.recv(10_000)
            time.sleep(RECEIVE_SECONDS + 2)
            client.setblocking(False)
            with suppress(BlockingIOError):
                answer += client.recv(10_000)
            client.setblocking(True)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(b"\r\n\r\n")


# --- chunked bodies ---------------------------------------------------------------------------------------------------


@pytest.mark.databases("sqlite")
def test_a_chunked_body_is_read(web: Web) -> None:
    order = web.place_order(data=iter([ORDER[:10], ORDER[10:]]))
    assert order.status_code == 201
    address = f"{web.url}/orders/{order.json()['order_id']}/"
    headers = {"Authorization": f"Token {web.token}", "Content-Type": "application/json"}
    note = requests.patch(address, headers=headers, data=iter([b'{"note": ', b'"By the door"}']), timeout=20)
    assert note.json()["note"] == "By the door"
    cancelled = requests.post(f"{address}cancel/", headers=headers, data=iter([b'{"reason": "Twice"}']), timeout=20)
    assert cancelled.status_code == 200
    events = requests.get(f"{address}events/", headers=headers, timeout=20).json()["results"]
    assert events[-1]["detail"] == "Twice"


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_too_large_is_refused_however_it_is_sent(web: Web, chunked: bool) -> None:
    body = b'{"note": "' + b"x" * 2 * 1024 * 1024 + b'"}'
    answer = web.place_order(data=iter([body]) if chunked else body)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("size", [b"x", b"-1", b"1_0", b"0x1", b""])
def test_a_malformed_chunk_is_refused(web: Web, size: bytes) -> None:
    with web.connect() as client:
        client.sendall(web.head("POST /orders/ HTTP/1.1", "Transfer-Encoding: chunked") + size + b"\r\n{}\r\n0\r\n\r\n")
        assert read_answer(client)[0] == 400


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.databases("sqlite")
def test_a_request_that_is_arriving_is_answered_before_the_server_ends(database: Database, tmp_path: Path) -> None:
    with served(database, tmp_path) as web, web.connect() as client, web.connect() as idle:
        idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(10_000)
        client.sendall(web.head("POST /orders/ HTTP/1.1", f"Content-Length: {len(ORDER)}") + ORDER[:5])
        web.live()
        web.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(web), "It lets nobody in any more")
        client.sendall(ORDER[5:])
        status, order = read_answer(client)
        assert (status, order["status"]) == (201, "placed")
        assert web.process.wait(20) == 0


def listens(web: Web) -> bool:
    try:
        web.connect().close()
    except ConnectionError:
        return False
    return True
