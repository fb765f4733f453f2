"""Which client a request comes from, where proxies stand in between.

A proxy appends the address that it was called from to `X-Forwarded-For`. What stands before the entries of our own
proxies was written by the client, and is not believed. TRUSTED_PROXIES says which are ours: how many, or in which
networks.
"""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings
from django.dispatch import receiver
from django.http import HttpRequest
from django_structlog.signals import bind_extra_request_metadata
from structlog.contextvars import bind_contextvars

Address = IPv4Address | IPv6Address

#: What one customer of an internet provider is given, at least. An address of it costs nothing.
CUSTOMER_BITS = 64

#: The client cannot be told: a proxy of ours has sent nothing that is an address.
UNKNOWN = "unknown"


def client_of(request: HttpRequest) -> str:
    """Return the address of the client, for logs."""
    return str(_find_client(request) or UNKNOWN)


def client_group(request: HttpRequest) -> str:
    """Return what counts as one client: an IPv4 address, or the network of an IPv6 address that is one customer's."""
    address = _find_client(request)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, CUSTOMER_BITS), strict=False))
    return str(address or UNKNOWN)


@receiver(bind_extra_request_metadata)
def bind_client(request: HttpRequest, **_: Any) -> None:
    """Have the client's address in every line of the log."""
    bind_contextvars(ip=client_of(request))


def parse_address(text: str) -> Address | None:
    """Return an address as proxies write it: with a port (Azure does), in brackets or quotes, with a zone.

    Returns None for anything else.
    """
    text = text.strip(' \t"')
    if found := re.fullmatch(r"\[([^\]]+)\](:\d+)?|(\d+\.\d+\.\d+\.\d+):\d+", text):
        text = found[1] or found[3]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _find_client(request: HttpRequest) -> Address | None:
    proxies, hops = settings.TRUSTED_PROXIES, list(_hops(request))
    if isinstance(proxies, int):
        # Each of our proxies has written one hop. A request that came past some of them has fewer.
        hops = hops[: proxies + 1]
        return next((hop for hop in reversed(hops) if hop), None)
    # A hop that is no address was not written by a proxy of ours: the one behind it is the client.
    client = hops[0]
    for hop in hops:
        if hop is None and hop is not hops[0]:
            break
        client = hop or client
        if hop is not None and not any(hop in network for network in proxies):
            break
    return client


def _hops(request: HttpRequest) -> Iterator[Address | None]:
    """Yield the addresses from ours to the client's. The first is None for a proxy that uses a Unix socket."""
    yield parse_address(request.META.get("REMOTE_ADDR", ""))
    written = request.META.get("HTTP_X_FORWARDED_FOR", "")
    yield from map(parse_address, reversed(written.split(",")) if written else ())
