"""Checks of a Redis server by what INFO says, and the number of messages that it holds."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from brokers.base import Depth, Finding
from brokers.redis.url import CLUSTER_CURE, NO_CLUSTER

#: The answer to INFO. A server may leave any field out.
Info = Mapping[str, Any]

OLDEST_VERSION: Final = (6, 2)

#: The share of maxmemory from which we warn: when memory is full, publishing fails.
CROWDED: Final = 0.9


def is_cluster(info: Info) -> bool:
    """Whether the server runs in cluster mode, which kombu cannot use."""
    return bool(info.get("cluster_enabled"))


def count(channel: Any, queue: str) -> Depth:
    """Return the length of the list of `queue`, and the number of unacknowledged messages of all queues together."""
    with channel.conn_or_acquire() as client:
        return Depth(*client.pipeline(transaction=False).llen(queue).hlen("unacked").execute())


def inspect_server(info: Info) -> Iterator[Finding]:
    """Yield the findings of all checks."""
    for look in (_version, _cluster, _role, _eviction, _memory, _persistence, _disk):
        yield from look(info)


def _version(info: Info) -> Iterator[Finding]:
    version = str(info.get("redis_version", "0"))
    # Valkey has two versions: its own, and that of the Redis it is compatible with.
    product = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    if _numbers(version) < OLDEST_VERSION:
        yield Finding("fail", "version", f"{product} is too old.", "Upgrade to Redis 6.2 or newer, or to Valkey.")
    else:
        yield Finding("ok", "version", product)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _cluster(info: Info) -> Iterator[Finding]:
    if is_cluster(info):
        yield Finding("fail", "cluster", f"The server runs in cluster mode, but {NO_CLUSTER}.", CLUSTER_CURE)


def _role(info: Info) -> Iterator[Finding]:
    if info.get("role", "master") != "master":
        yield Finding(
            "fail",
            "role",
            "The server is a replica, which refuses to be written to.",
            "Point REDIS_URL at the primary, or at the Sentinels (sentinel://).",
        )


def _eviction(info: Info) -> Iterator[Finding]:
    policy = info.get("maxmemory_policy", "noeviction")
    cure = "Set maxmemory-policy noeviction: publishing then fails instead, and is tried again."
    if policy.startswith("allkeys"):
        yield Finding("fail", "maxmemory-policy", f"{policy}: a server full of messages throws some away.", cure)
    elif policy != "noeviction":
        # These policies evict only keys that expire, and queues do not expire.
        yield Finding("warn", "maxmemory-policy", f"{policy}: keys of other programs may be thrown away.", cure)
    else:
        yield Finding("ok", "maxmemory-policy", "noeviction")


def _memory(info: Info) -> Iterator[Finding]:
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > limit * CROWDED:
        message = f"{used / limit:.0%} of maxmemory ({limit:,} bytes) is used; when it is full, publishing fails."
        yield Finding("warn", "memory", message, "Let the workers catch up, or raise maxmemory.")


def _persistence(info: Info) -> Iterator[Finding]:
    if info.get("aof_enabled"):
        yield Finding("ok", "appendonly", "Messages survive a restart of the server.")
    else:
        yield Finding(
            "fail",
            "appendonly",
            "no: a restart of the server loses messages.",
            "Set appendonly yes in redis.conf, or now: redis-cli CONFIG SET appendonly yes.",
        )


def _disk(info: Info) -> Iterator[Finding]:
    for field, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if info.get(field, "ok") != "ok":
            message = f"The last write of the {what} failed; the server may refuse to be written to."
            yield Finding("fail", "disk", message, "Look at the server's log and at its disk.")
