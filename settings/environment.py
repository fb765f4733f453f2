"""Where the variables come from: the process environment first, then `.env` in the project root."""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from settings import PROJECT_ROOT
from settings.errors import SettingsError, nearest

PROCESS, FILE, DEFAULT = "environment", ".env", "default"

#: How similar to a known name another one must be to count as mistyped. Names without a prefix share the environment
#: with every other program of the machine, so they must be more similar.
_PREFIXED_CUTOFF, _PLAIN_CUTOFF = 0.8, 0.85

#: OpenTelemetry's own variables are alike, and its libraries read them by themselves.
_OF_OPENTELEMETRY = "OTEL_"

#: After a prefix a short word with one wrong letter counts as mistyped, too: URI for URL.
_SHORT, _SHORT_CUTOFF = 4, 0.65


class SettingsWarning(UserWarning):
    """A variable of the process that looks like one of ours."""


@dataclass(frozen=True)
class Environment:
    """The variables of the process and of `.env`. An empty variable counts as unset."""

    process: Mapping[str, str]
    file: Mapping[str, str]

    @classmethod
    def read(cls, process: Mapping[str, str] | None = None, file: Path | None = None) -> "Environment":
        """Read `os.environ` and the project's `.env` (ENV_FILE names another file), unless told to read others.

        Raises SettingsError when the file has a line that is no assignment.
        """
        path = file or Path(os.environ.get("ENV_FILE") or PROJECT_ROOT / ".env")
        return cls(
            process=_without_empty(os.environ if process is None else process),
            file=_without_empty(_read_file(path)) if path.is_file() else {},
        )

    def get(self, name: str) -> str | None:
        """Return the text of variable `name`, or None when it is unset or empty."""
        return self.process.get(name, self.file.get(name))

    def source(self, name: str) -> str:
        """Return where `name` was found: 'environment', '.env' or 'default'."""
        return PROCESS if name in self.process else FILE if name in self.file else DEFAULT

    def mistyped(self, known: Iterable[str], prefixes: Iterable[str]) -> Iterator[str]:
        """Yield a line for every variable that looks like one of `known`, but is not.

        A name without a near match belongs to another program (Kubernetes sets REDIS_PORT, RabbitMQ's server reads
        RABBITMQ_NODENAME) and is ignored. `.env` is ours alone: there, every unknown name with a known prefix counts.
        A name without a prefix in the process environment may be a neighbour's: it is warned of (`SettingsWarning`).
        """
        real, known_prefixes = set(known), sorted(filter(None, prefixes))
        for name in sorted({*self.process, *self.file} - real):
            if name.startswith(_OF_OPENTELEMETRY) and name not in self.file:
                continue
            prefix = next((each for each in known_prefixes if name.upper().startswith(each)), "")
            family = {each for each in real if _prefix_of(each, known_prefixes) == prefix}
            meant = _meant(name, prefix, family)
            if meant and not prefix and name not in self.file:
                warnings.warn(f"{name} is not a setting. Did you mean {meant}?", SettingsWarning, stacklevel=2)
            elif meant:
                yield f"{name} is not a setting. Did you mean {meant}?"
            elif prefix and name in self.file:
                yield f"{name} in .env is not a setting. Remove it; docs/settings.md lists those there are."


def _without_empty(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value.strip() for name, value in variables.items() if value.strip()}


def _read_file(path: Path) -> dict[str, str]:
    """Return the assignments of a `.env` file, taking `$` literally: passwords contain it."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{path} cannot be read ({reason}). Mend or remove it.") from None
    found, bad = {}, []
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key and binding.value is None):
            # The line itself is not shown: it may hold a secret. Empty lines before it count as part of it.
            original = binding.original.string
            line = binding.original.line + original[: -len(original.lstrip())].count("\n")
            bad.append(f"{path} line {line} is not an assignment: write NAME=value.")
        elif binding.key:
            found[binding.key] = binding.value or ""
    if bad:
        raise SettingsError(*bad)
    return found


def _prefix_of(name: str, prefixes: list[str]) -> str:
    return next((prefix for prefix in prefixes if name.startswith(prefix)), "")


def _meant(name: str, prefix: str, family: set[str]) -> str | None:
    part = name[len(prefix) :]
    cutoff = _PREFIXED_CUTOFF if prefix else _PLAIN_CUTOFF
    if prefix and len(part) <= _SHORT:
        cutoff = _SHORT_CUTOFF
    meant = nearest(part, (each[len(prefix) :] for each in family), cutoff=cutoff)
    return f"{prefix}{meant}" if meant else None


def process_environment(**changes: str) -> dict[str, str]:
    """Return the variables of this process with `changes`, for a process that it starts."""
    return {**os.environ, **changes}
