"""Secrets that cannot be shown by accident: not by `repr`, not in a dump, not in an error."""

import re

from pydantic import Secret

MASK = "***"

#: Where one URL of a list ends and the next begins: `amqp://u:p@one;amqp://u:p@two`.
_NEXT_URL = re.compile(r"([;,])(?=[A-Za-z][\w+.-]*://)")
_SECRET_OPTION = re.compile(r"(?i)([?&;][^=&;]*(?:password|passwd|secret|token|_key|apikey)[^=&;]*=)[^&;]*")


def mask_url(url: str) -> str:
    """Return `url` with its passwords and secret options replaced by `***`.

    Works on broken URLs too: everything up to the *last* `@` counts as credentials, since an unescaped `/`,
    `#` or `?` in a password makes a URL parser see its tail as path. Rather mask too much than too little.
    """
    parts = _NEXT_URL.split(url)
    return "".join(part if part in ";," else _mask_one(part) for part in parts)


def _mask_one(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    credentials, at, host = rest.rpartition("@")
    if at:
        user, colon, _ = credentials.partition(":")
        rest = f"{user if colon else ''}{':' if colon else ''}{MASK}@{host}"
    return _SECRET_OPTION.sub(rf"\1{MASK}", f"{scheme}{separator}{rest}")


class SecretUrl(Secret[str]):
    """A URL that may carry a password: shown everywhere with the password masked.

    `get_secret_value()` returns the whole of it, for the one place that connects.
    """

    def _display(self) -> str:
        return mask_url(self.get_secret_value())
