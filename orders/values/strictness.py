"""What a client sends and we do not know is refused, with the nearest name: ignored, it would be lost in silence."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError


# A docstring would be the description of every serializer in the OpenAPI document.
class StrictFields(serializers.Serializer):
    # Those that are only read may be sent back, and are ignored.

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            refuse_unknown(data, self.fields, "field")
        return super().to_internal_value(data)


def refuse_unknown(given: Iterable[Any], known: Iterable[str], kind: str) -> None:
    """Raise ValidationError for each name that is not known."""
    names = sorted(known)
    if unknown := [str(name) for name in given if name not in names]:
        raise ValidationError({name: [_describe(name, names, kind)] for name in unknown}, code="unknown")


def _describe(name: str, known: list[str], kind: str) -> str:
    if near := get_close_matches(name.lower(), known, n=1):
        return f"There is no {kind} '{name[:40]}'. Did you mean '{near[0]}'?"
    return f"There is no {kind} '{name[:40]}'" + (f": there are {', '.join(known)}." if known else " here.")
