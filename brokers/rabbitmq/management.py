"""Checks that need RabbitMQ's management plugin: the state of each node, and the `consumer_timeout` of a queue."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from brokers.base import STEP_SECONDS, TIME_LIMIT_SECONDS, Finding


def inspect_consumer_timeout(url: str, virtual_host: str, queue: str) -> Iterator[Finding]:
    """Yield a finding if RabbitMQ takes a message back from a worker that still works on it.

    This matters for tasks with durable=False: only they are acknowledged when they end. The plugin shows a
    `consumer_timeout` that a policy or an argument sets for the queue. It does not show the server's own (30 min unless
    configured).
    """
    try:
        found = _get(url, f"/api/queues/{quote(virtual_host, safe='')}/{quote(queue, safe='')}")
    except (OSError, ValueError):
        return  # another check reports a plugin that does not answer, or a queue that does not exist
    policy = found.get("effective_policy_definition") or {}
    milliseconds = found.get("arguments", {}).get("x-consumer-timeout") or policy.get("consumer-timeout")
    if milliseconds is not None and milliseconds <= TIME_LIMIT_SECONDS * 1000:
        message = f"consumer_timeout {milliseconds / 1000:g} s: a task may take {TIME_LIMIT_SECONDS} s."
        cure = "Raise it (rabbitmqctl list_policies), or tasks with durable=False run twice."
        yield Finding("warn", f"queue {queue}", message, cure)


def inspect_nodes(url: str) -> Iterator[Finding]:
    """Yield a finding for each problem of a node of the cluster, or one finding that there is none."""
    try:
        nodes = _get(url, "/api/nodes")
    except (OSError, ValueError) as error:
        message = f"{urlsplit(url).hostname} cannot be asked: {getattr(error, 'reason', '') or type(error).__name__}."
        yield Finding("warn", "management", message, "Check RABBITMQ_MANAGEMENT_URL and that the plugin is enabled.")
        return
    troubles = [finding for node in nodes for finding in _inspect_node(node)]
    yield from troubles or [Finding("ok", "nodes", f"{len(nodes)} without alarm.")]


def _inspect_node(node: dict[str, Any]) -> Iterator[Finding]:
    name = f"node {node.get('name', '?')}"
    if not node.get("running"):
        yield Finding("warn", name, "does not run.", "Start it: with a minority of its nodes a quorum queue stops.")
    if node.get("mem_alarm"):
        yield Finding("fail", name, "has a memory alarm: publishing is stopped.", "Drain the queues or add memory.")
    if node.get("disk_free_alarm"):
        yield Finding("fail", name, "has a disk alarm: publishing is stopped.", "Free some disk.")
    if node.get("partitions"):
        message = f"has lost sight of {', '.join(node['partitions'])}."
        yield Finding("fail", name, message, "Mend the network, then restart the nodes of the smaller part.")


def _get(url: str, path: str) -> Any:
    parts = urlsplit(url)
    request = Request(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}{path}")  # noqa: S310
    if parts.username:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {b64encode(credentials.encode()).decode()}")
    with urlopen(request, timeout=STEP_SECONDS) as answer:  # noqa: S310 - the scheme is checked by the profile
        return json.load(answer)
