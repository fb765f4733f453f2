"""Secrets that cannot be shown by accident: not by `repr`, not in a dump, not in an error."""

import re

from pydantic import Secret

MASK = "***"

_HOST = r"(?:\[[^]@]*\]|[^:/?#@,]*)(?::\d{1,5})?"
#: What may follow `scheme://` without an `@`. Anything else may be a password whose host is missing.
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*(?=[/?#]|$)")
_SECRET_OPTION = re.compile(r"(?i)([?&;][^=&;]*(?:password|passwd|secret|token|_key|apikey)[^=&;]*=)[^&;]*")


def mask_url(url: str) -> str:
    """Return `url`, or several joined by `;` or `,`, with passwords and secret options replaced by `***`.

    Works on broken URLs too: everything up to the *last* `@` counts as credentials, since an unescaped `/`, `#` or `?`
    in a password makes a URL parser take the rest of it for the path. In doubt it masks too much, not too little.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return _mask_one("", url)
    return "".join(
        part if part in (";", ",", "") else _mask_one(f"{scheme}://", part.removeprefix(f"{scheme}://"))
        for part in re.split(rf"([;,])(?={re.escape(scheme)}://)", url)
    )


def _mask_one(start: str, rest: str) -> str:
    credentials, at, host = rest.rpartition("@")
    user, colon, _ = (credentials if at else rest).partition(":")
    if at:
        rest = f"{user}:{MASK}@{host}" if colon else f"{MASK}@{host}"
    elif colon and start and not _HOSTS.match(rest):
        rest = f"{user}:{MASK}"
    return start + _SECRET_OPTION.sub(rf"\1{MASK}", rest)


class SecretUrl(Secret[str]):
    """A URL that may carry a password: shown everywhere with the password masked.

    `get_secret_value()` returns the whole of it, for the one place that connects.
    """

    def _display(self) -> str:
        return mask_url(self.get_secret_value())
