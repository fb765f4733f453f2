"""Parses and checks the URL of a broker before a library sees it: the error of a library would show the password."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, parse_qsl, urlsplit

from settings.errors import any_of


def scheme_of(url: str) -> str:
    """Return the scheme of `url` in lower case; '' if `url` is no URL."""
    scheme, separator, _ = url.strip().partition("://")
    return scheme.lower() if separator else ""


@dataclass(frozen=True)
class BrokerUrl:
    """One address of a broker. `credentials` are `user:password@`, percent-encoded, or empty.

    A socket has no host; `path` is its file.
    """

    scheme: str
    credentials: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.credentials}{self._netloc}{self.path}"

    @property
    def place(self) -> str:
        """The address without secrets: `host:port`, or the file of a socket."""
        return self._netloc or self.path.partition("?")[0]

    @property
    def _netloc(self) -> str:
        if not self.host:
            return ""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_urls(text: str, ports: Mapping[str, int]) -> list[BrokerUrl]:
    """Return the addresses in `text`, one or several separated by `;`. `ports` are the default ports by scheme.

    An address without credentials or path gets those of the first address: kombu takes each address by itself.
    Raises ValueError with what is wrong and the cure, without quoting the URL.
    """
    if scheme_of(text) not in ports:
        raise ValueError(f"is not the URL of such a broker: start with {any_of(f'{each}://' for each in ports)}.")
    first, *others = [_parse(part.strip(), ports) for part in text.split(";") if part.strip()]
    if {other.scheme for other in others} - {first.scheme}:
        raise ValueError("mixes schemes: write the same one before each host.")
    return [
        first,
        *(
            replace(other, credentials=other.credentials or first.credentials, path=other.path or first.path)
            for other in others
        ),
    ]


def _parse(text: str, ports: Mapping[str, int]) -> BrokerUrl:
    parts = _split(text)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        # Most often this is the rest of a password: redis://user:a#b@host has the port 'a'.
        raise ValueError(
            "has no valid port: write scheme://user:password@host:port/ and percent-encode special characters "
            "in user and password (/ is %2F, # is %23, @ is %40)."
        ) from None
    if not host:
        raise ValueError("names no host: write scheme://host:port/.")
    if parts.query or parts.fragment:
        raise ValueError("has options after the host: set the variables listed in docs/settings.md instead.")
    return BrokerUrl(parts.scheme, _credentials(parts), host, port or ports.get(parts.scheme, 0), parts.path)


def parse_socket(text: str) -> BrokerUrl:
    """Return the address in `unix:///run/redis.sock?db=1`, as kombu writes it: `redis+socket:///…?virtual_host=1`.

    Raises ValueError with what is wrong and the cure, without quoting the URL.
    """
    parts = _split(text)
    options = dict(parse_qsl(parts.query))
    database = options.pop("db", options.pop("virtual_host", "0"))
    if parts.hostname or options or not database.isdigit() or not parts.path.strip("/"):
        raise ValueError("is no path of a socket: write unix:///path/to/redis.sock?db=0.")
    return BrokerUrl("redis+socket", _credentials(parts), "", 0, f"{parts.path}?virtual_host={database}")


def _credentials(parts: SplitResult) -> str:
    user_info, at, _ = parts.netloc.rpartition("@")
    return user_info + at


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError("is not a URL: write scheme://host:port/.") from None
