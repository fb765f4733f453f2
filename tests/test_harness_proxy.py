"""The proxy of the fault tests really does to connections what its methods say."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.harness.proxy import TcpProxy
from tests.harness.waiting import wait_until


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back what it receives."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(1024):
                connection.sendall(data)
        except OSError:
            return


@pytest.fixture
def proxy(echo_port: int) -> Iterator[TcpProxy]:
    with TcpProxy(echo_port) as proxy:
        yield proxy


def connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def ask(connection: socket.socket, question: bytes = b"hello") -> bytes:
    connection.sendall(question)
    return connection.recv(1024)


def test_it_passes_data_both_ways(proxy: TcpProxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection) == b"hello"
        assert proxy.connections == 1
    wait_until(lambda: proxy.connections == 0, "the end of the closed connection")


def test_a_cut_resets_what_is_open_and_lets_new_connections_in(proxy: TcpProxy) -> None:
    with connect(proxy) as connection:
        ask(connection)
        proxy.cut()
        assert proxy.connections == 0
        with pytest.raises(ConnectionResetError):
            connection.recv(1024)
    with connect(proxy) as connection:
        assert ask(connection) == b"hello"


def test_it_refuses_until_it_is_healed(proxy: TcpProxy) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.heal()
    with connect(proxy) as connection:
        assert ask(connection) == b"hello"


def test_what_it_swallows_never_answers_again_but_a_new_connection_does_after_healing(proxy: TcpProxy) -> None:
    with connect(proxy) as old:
        ask(old)
        proxy.swallow()
        with connect(proxy) as accepted_meanwhile:
            for connection in (old, accepted_meanwhile):
                connection.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    ask(connection)
            proxy.heal()
            for connection in (old, accepted_meanwhile):
                with pytest.raises(TimeoutError):
                    ask(connection)
        with connect(proxy) as new:
            assert ask(new) == b"hello"


def test_it_delays_each_way(proxy: TcpProxy) -> None:
    proxy.delay(0.15)
    with connect(proxy) as connection:
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(connection)
        connection.settimeout(5)
        assert connection.recv(1024) == b"hello"
