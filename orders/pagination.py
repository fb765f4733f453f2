"""Pages that start where the last one ended, so that the thousandth costs no more than the first."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView


class CursorPages(CursorPagination):
    page_size = 50

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any] | None:
        # Clients may tamper with a cursor, and REST framework does not look at the value inside.
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValidationError, ValueError, DataError) as error:
            raise NotFound(self.invalid_cursor_message) from error


class OrderPages(CursorPages):
    ordering = ("-created_at", "-id")


class ProductPages(CursorPages):
    ordering = "sku"
