"""TRUSTED_PROXIES: how many proxies stand in front of the service, or which networks they are in."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

Proxies = int | tuple[IPv4Network | IPv6Network, ...]

#: Nobody has more in a row; a larger number is a port or a part of an address.
MOST_PROXIES = 10


def read_proxies(texts: Sequence[str]) -> Proxies:
    """Return the number of proxies, or their networks. Raises ValueError with the cure for anything else."""
    if len(texts) == 1 and texts[0].isdecimal():
        if int(texts[0]) > MOST_PROXIES:
            raise ValueError(f"is more than {MOST_PROXIES} proxies: write how many stand in a row, or their networks.")
        return int(texts[0])
    return tuple(map(_read_network, texts))


def _read_network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(f"has {text!r}, which is no network: write it as 10.0.0.0/8, or only a number.") from None
    if not network.prefixlen:
        raise ValueError(f"has {text!r}, which is everybody: then any client could choose its address.")
    return network
