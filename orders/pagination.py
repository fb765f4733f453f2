"""Pages that start where the last one ended, so that the thousandth page costs no more than the first.

The cursor of REST framework is a value of the first column and an offset (1,000 at most) among the rows that share this
value; beyond that it repeats rows. Our cursor is the whole key of the last row of the page. So it works with any
ordering, however many rows share a value.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from django.db.models import Model, Q, QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.exceptions import ValidationError as BadParameter
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView


class KeysetPages(CursorPagination):
    """Pages of a queryset in its own order, made unambiguous by its primary key."""

    page_size: int = 50
    page_size_query_param = "page_size"
    max_page_size = 100

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        self.request = request
        self.columns = self._columns(queryset)
        size = self.get_page_size(request)
        encoded = request.query_params.get(self.cursor_query_param)
        # Clients may tamper with a cursor, so it may hold what is no value of the column.
        try:
            backward, key = self._decode(encoded) if encoded is not None else (False, None)
            rows = list(self._rows(queryset, backward, key)[: size + 1])
        except (ValidationError, ValueError, TypeError, ArithmeticError, RecursionError, DataError) as error:
            raise NotFound(self.invalid_cursor_message) from error
        more = len(rows) > size
        self.page = rows[:size][:: -1 if backward else 1]
        self.has_next, self.has_previous = (key is not None, more) if backward else (more, key is not None)
        self.display_page_controls = self.has_next or self.has_previous
        return self.page

    def get_page_size(self, request: Request) -> int:
        """Return the size that the client asks for; 400 if it makes no sense. REST framework would use the default."""
        asked = request.query_params.getlist(self.page_size_query_param, [str(self.page_size)])
        if not re.fullmatch(r"[0-9]{1,3}", asked[-1]) or not 1 <= int(asked[-1]) <= self.max_page_size:
            raise BadParameter({self.page_size_query_param: [f"A page has 1 to {self.max_page_size} entries."]})
        return int(asked[-1])

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] |= {"minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        return parameters

    def get_next_link(self) -> str | None:
        return self._link(self.page[-1], backward=False) if self.has_next and self.page else None

    def get_previous_link(self) -> str | None:
        return self._link(self.page[0], backward=True) if self.has_previous and self.page else None

    def _columns(self, queryset: QuerySet) -> list[str]:
        """Return the columns of the ordering and the primary key, each with a minus if it descends."""
        columns = list(queryset.query.order_by or queryset.model._meta.ordering)
        if not {"pk", "-pk", "id", "-id"} & set(columns):
            columns.append("-pk" if columns and columns[0].startswith("-") else "pk")
        return columns

    def _rows(self, queryset: QuerySet, backward: bool, key: list[Any] | None) -> QuerySet:
        columns = [_reversed(column) for column in self.columns] if backward else self.columns
        ordered = queryset.order_by(*columns)
        return ordered if key is None else ordered.filter(_after(columns, key))

    def _link(self, row: Model, *, backward: bool) -> str:
        key = [str(getattr(row, column.lstrip("-"))) for column in self.columns]
        encoded = urlsafe_b64encode(json.dumps([backward, *key]).encode()).decode()
        return replace_query_param(self.request.build_absolute_uri(), self.cursor_query_param, encoded)

    def _decode(self, encoded: str) -> tuple[bool, list[Any]]:
        """Return direction and key. Raises ValueError for a cursor that was not made here."""
        backward, *key = json.loads(urlsafe_b64decode(encoded.encode("ascii")))
        if len(key) != len(self.columns) or not all(isinstance(value, str) and "\0" not in value for value in key):
            raise ValueError("not a cursor of this list")
        return bool(backward), key


def _reversed(column: str) -> str:
    return column[1:] if column.startswith("-") else f"-{column}"


def _after(columns: list[str], key: list[Any]) -> Q:
    """Match the rows that come after the row with this `key` in the order of `columns`."""
    after, alike = Q(), Q()
    for column, value in zip(columns, key, strict=True):
        name = column.lstrip("-")
        beyond = "lt" if column.startswith("-") else "gt"
        after |= alike & Q(**{f"{name}__{beyond}": value})
        alike &= Q(**{name: value})
    # Redundant, but it tells the database where to begin in the index.
    first = columns[0].lstrip("-")
    begin = "lte" if columns[0].startswith("-") else "gte"
    return Q(**{f"{first}__{begin}": key[0]}) & after
