"""A TCP proxy on which a network can fail: connections cut, swallowed, refused or slowed down."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Self

from app.first_run.processes import find_free_port

CHUNK_BYTES = 65_536

#: SO_LINGER on, with zero seconds: closing the socket sends RST instead of FIN.
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class TcpProxy:
    """Passes connections on from `port` of 127.0.0.1 to `target_port`, until it is told to fail.

        with TcpProxy(broker.port) as proxy:
            service = start(broker.env_at(proxy.port))
            proxy.cut()

    It runs in a thread of its own. A method may be called from any other and has taken effect when it returns.
    """

    def __init__(self, target_port: int) -> None:
        self.port = find_free_port()
        self.target_port = target_port
        self.delay_seconds = 0.0
        self.swallows = False
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen)
        return self

    def __exit__(self, *exception: object) -> None:
        self._run(self._refuse)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many connections are open, those that are swallowed included."""
        return len(self._links)

    def cut(self) -> None:
        """Reset every connection there is (RST); new ones work."""
        self._run(self._cut)

    def refuse(self) -> None:
        """Reset every connection and refuse new ones, as if nothing listened."""
        self._run(self._refuse)

    def swallow(self) -> None:
        """Let nothing through any more, in either direction, but keep connections open and accept new ones.

        A network that drops packets looks like this. What was sent into it is lost, and a connection of that time
        stays mute after `heal()` too, like one whose other end has forgotten it (half-open).
        """
        self._run(self._swallow)

    def redirect(self, target_port: int) -> None:
        """Reset every connection and lead new ones to another port."""
        self.target_port = target_port
        self.cut()

    def delay(self, seconds: float) -> None:
        """Let each piece of data take that much longer, in both directions."""
        self.delay_seconds = seconds

    def heal(self) -> None:
        """Accept and pass on new connections again, without delay."""
        self.delay_seconds = 0.0
        self.swallows = False
        self._run(self._listen)

    # --- in the proxy's own thread ------------------------------------------------------------------------------------

    def _run(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(function(), self._loop).result(timeout=10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _cut(self) -> None:
        tasks = [link.reset() for link in self._links]
        if tasks:
            await asyncio.wait(tasks)

    async def _swallow(self) -> None:
        self.swallows = True
        for link in self._links:
            link.is_mute = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, writer)
        self._links.add(link)
        try:
            await link.carry(reader)
        except asyncio.CancelledError:
            pass  # by `reset()`; asyncio's own callback would report it as a fault
        finally:
            self._links.discard(link)
            link.close()


class _Link:
    """One connection through the proxy: the client's side, and the server's once that is open."""

    def __init__(self, proxy: TcpProxy, client: asyncio.StreamWriter) -> None:
        self.is_mute = proxy.swallows
        self._proxy = proxy
        self._writers = [client]
        self._task: asyncio.Task[Any] | None = asyncio.current_task()

    def reset(self) -> asyncio.Task[Any]:
        """Make both ends see a reset; the task that is returned ends when they have."""
        for writer in self._writers:
            with suppress(OSError):  # that side has closed it already
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()
        assert self._task is not None
        self._task.cancel()
        return self._task

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    async def carry(self, from_client: asyncio.StreamReader) -> None:
        """Carry data both ways until one side closes."""
        with suppress(OSError):
            from_server, server = await asyncio.open_connection("127.0.0.1", self._proxy.target_port)
            self._writers.append(server)
            there = asyncio.create_task(self._carry_one_way(from_client, server))
            back = asyncio.create_task(self._carry_one_way(from_server, self._writers[0]))
            try:
                await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()

    async def _carry_one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await asyncio.sleep(self._proxy.delay_seconds)
                if not self.is_mute:
                    writer.write(data)
                    await writer.drain()
        if self.is_mute:
            await asyncio.Event().wait()  # the other end does not learn that this one has gone
