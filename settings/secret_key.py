"""SECRET_KEY: generated in development, checked in production."""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

#: Django's own measure of a secret key (`manage.py check --deploy`).
MIN_LENGTH, MIN_DISTINCT = 50, 5

_PLACEHOLDER = re.compile(
    r"(?i)^django-insecure-|change.?me|replace.?me|placeholder|your.?secret|insecure|example|password"
)
_MAKE_ONE = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(50))'"


def kept_key(path: Path) -> str:
    """Return the key kept in `path`, making it on first use, so that sessions outlive a restart.

    Web, worker and beat may start at the same moment: all of them use the key of the first one that links its draft.
    Raises OSError when the key can be neither read nor kept.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(MIN_LENGTH))
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text().strip()


def require_strong(key: str) -> None:
    """Raise ValueError with the cure when `key` is missing, short or a placeholder."""
    if not key:
        raise ValueError(f"is not set, and production needs one: {_MAKE_ONE}")
    if len(set(key)) < MIN_DISTINCT or _PLACEHOLDER.search(key):
        raise ValueError(f"is not random but a placeholder: {_MAKE_ONE}")
    if len(key) < MIN_LENGTH:
        raise ValueError(f"has {len(key)} characters and can be guessed; it needs {MIN_LENGTH}: {_MAKE_ONE}")
