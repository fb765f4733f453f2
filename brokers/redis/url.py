"""Parses and checks REDIS_URL."""

from typing import Final

from brokers.urls import BrokerUrl, parse_socket, parse_urls, scheme_of

#: Schemes of servers on the network, with their default ports.
NETWORK_SCHEMES: Final = {"redis": 6379, "rediss": 6379, "sentinel": 26379}
SOCKET_SCHEMES: Final = ("unix", "redis+socket")
#: Schemes with which people ask for Redis Cluster, which is refused.
CLUSTER_SCHEMES: Final = ("redis+cluster", "rediss+cluster", "redis-cluster", "rediss-cluster")
SCHEMES: Final = (*NETWORK_SCHEMES, *SOCKET_SCHEMES, *CLUSTER_SCHEMES)

NO_CLUSTER: Final = (
    "kombu has no transport for Redis Cluster: it moves each message between keys that a cluster keeps on different "
    "servers"
)
CLUSTER_CURE: Final = "Use a Redis without cluster mode; for failover, Sentinel."


def parse_redis_url(text: str) -> list[BrokerUrl]:
    """Return the addresses in `text`: several for Sentinels, otherwise one.

    Raises ValueError with what is wrong and the cure, without quoting the URL.
    """
    scheme = scheme_of(text)
    if scheme in CLUSTER_SCHEMES:
        raise ValueError(f"asks for Redis Cluster, but {NO_CLUSTER}. {CLUSTER_CURE}")
    if scheme in SOCKET_SCHEMES:
        return [parse_socket(text)]
    addresses = parse_urls(text, NETWORK_SCHEMES)
    database = addresses[0].path.strip("/")
    if database and not database.isdigit():
        raise ValueError("has no number of a database behind the host: end with /0.")
    if len(addresses) > 1 and scheme != "sentinel":
        raise ValueError("names several servers, which share no messages: name one, or Sentinels with sentinel://.")
    return addresses
