"""Tells kombu the names and URLs of our queues at SQS."""

import re
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence
from typing import Final

#: SQS takes 80 characters, of which a prefix may use 40 and `-dead` 5.
QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,35}")

#: The name of a queue that belongs to others, as it is at SQS.
FOREIGN_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")


class PredefinedQueues(Mapping[str, dict[str, str]]):
    """kombu's `predefined_queues`. `find_url` is called when kombu connects: reading the settings needs no network.

    When kombu connects, it reads all `items()`. For each message that it acknowledges it reads one item; so the URLs
    are remembered.
    """

    def __init__(self, prefix: str, queues: Sequence[str], find_url: Callable[[str], str]) -> None:
        self._queues = {f"{prefix}{queue}": queue for queue in queues}
        # Without the prefix, too: kombu uses this name where it polls without an event loop, as under gevent.
        self._plain = {queue: queue for queue in queues}
        self._find_url = find_url
        self._urls: dict[str, str] = {}

    def __getitem__(self, name: str) -> dict[str, str]:
        queue = self._queues.get(name) or self._plain[name]
        if queue not in self._urls:
            self._urls[queue] = self._find_url(queue)
        return {"url": self._urls[queue]}

    def __contains__(self, name: object) -> bool:
        return name in self._queues or name in self._plain

    def items(self) -> ItemsView[str, dict[str, str]]:
        self._urls.clear()
        return super().items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._queues)

    def __len__(self) -> int:
        return len(self._queues)

    def __repr__(self) -> str:
        # kombu uses this text to tell connections apart.
        return f"{type(self).__name__}({list(self)})"
