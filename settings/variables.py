"""The description of one variable: its name, type, unit, default and meaning."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Secret, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from settings.errors import any_of
from settings.masking import MASK, SecretUrl


@dataclass(frozen=True)
class Unit:
    """Annotation: what a number counts, where the variable's name does not say it."""

    name: str


@dataclass(frozen=True)
class DefaultText:
    """Annotation: the default in words, where it depends on another variable."""

    text: str


Seconds = Annotated[int, Unit("seconds")]
"""A whole number of seconds."""


def _split(value: object) -> object:
    return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value


CommaList = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""`a, b` in the environment, `("a", "b")` in Python."""


def _with_scheme(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if not re.fullmatch(r"https?://[^/]+", origin):
            raise ValueError(f"has {origin!r}, which is not an origin: write it as https://orders.example.com.")
    return origins


OriginList = Annotated[CommaList, AfterValidator(_with_scheme)]
"""A list of `https://orders.example.com`: scheme, host and, if need be, port."""

_UNITS_IN_NAMES = {"_SECONDS": "seconds", "_DAYS": "days", "_BYTES": "bytes"}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_TYPE_NAMES = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "text, secret",
    SecretUrl: "URL, password hidden",
}


@dataclass(frozen=True)
class Variable:
    """One variable of the environment, as `docs/settings.md` and `manage.py config` show it."""

    name: str
    field: str
    type: str
    default: str
    #: Whether `default` is words, because it depends on another variable, and so no value to copy.
    default_in_words: bool
    description: str
    secret: bool

    @classmethod
    def of(cls, name: str, field: str, info: FieldInfo) -> "Variable":
        words = next((note.text for note in info.metadata if isinstance(note, DefaultText)), None)
        default = None if info.default is PydanticUndefined else info.default
        return cls(
            name=name,
            field=field,
            type=_type_text(name, info),
            default=plain_text(default) if words is None else words,
            default_in_words=words is not None,
            description=" ".join((info.description or "").split()),
            secret=any(isinstance(each, type) and issubclass(each, Secret | SecretStr) for each in _types(info)),
        )


def plain_text(value: Any) -> str:
    """Return `value` as it is written in `.env`; a SecretUrl in full, a SecretStr masked."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple() | list():
            return ",".join(map(str, value))
        case SecretUrl():
            return value.get_secret_value()
    return str(value)


def shown_text(value: Any) -> str:
    """Return `value` as `plain_text` does, secrets masked."""
    if isinstance(value, SecretUrl):
        return str(value)
    if isinstance(value, Secret | SecretStr):
        return MASK if value.get_secret_value() else ""
    return plain_text(value)


def _types(info: FieldInfo) -> Iterator[Any]:
    """Yield the field's type without None and without annotations."""
    waiting = [info.annotation]
    while waiting:
        kind = waiting.pop(0)
        origin = get_origin(kind)
        if origin is Annotated:
            waiting.insert(0, get_args(kind)[0])
        elif origin in (None, Literal, tuple, list):
            if kind is not NoneType:
                yield kind
        else:
            waiting.extend(get_args(kind))


def _type_text(name: str, info: FieldInfo) -> str:
    texts = []
    for kind in _types(info):
        if get_origin(kind) is Literal:
            texts.append(any_of(f"`{choice}`" for choice in get_args(kind)))
        elif get_origin(kind) in (tuple, list):
            texts.append("comma-separated list")
        else:
            texts.append(_TYPE_NAMES.get(kind, getattr(kind, "__name__", "text")))
    unit = _unit(name, info)
    return " or ".join(texts) + (f" of {unit}" if unit else "") + "".join(_bounds(info))


def _unit(name: str, info: FieldInfo) -> str:
    given = (note.name for note in info.metadata if isinstance(note, Unit))
    named = (unit for suffix, unit in _UNITS_IN_NAMES.items() if name.endswith(suffix))
    return next(given, "") or next(named, "")


def _bounds(info: FieldInfo) -> Iterator[str]:
    for note in info.metadata:
        for attribute, words in _BOUNDS.items():
            if hasattr(note, attribute):
                yield f", {words} {getattr(note, attribute)}"
