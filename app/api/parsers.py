"""How request bodies are read."""

from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

#: An order has 3 levels: the body, its items, an item.
MAX_LEVELS = 20

TOO_DEEP = f"JSON parse error - nested more than {MAX_LEVELS} levels deep."


class BoundedJSONParser(JSONParser):
    """Reads JSON in UTF-8 (RFC 8259 allows no other charset) with at most MAX_LEVELS levels.

    A deeper document could cause a RecursionError, here or in code that reads it later.
    """

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            data = super().parse(stream, media_type, {**(parser_context or {}), "encoding": "utf-8"})
        except RecursionError as error:
            raise ParseError(TOO_DEEP) from error
        if _is_deeper_than(MAX_LEVELS, data):
            raise ParseError(TOO_DEEP)
        return data


def _is_deeper_than(levels: int, data: Any) -> bool:
    if not isinstance(data, list | dict):
        return False
    inner = data.values() if isinstance(data, dict) else data
    return levels == 0 or any(_is_deeper_than(levels - 1, each) for each in inner)
