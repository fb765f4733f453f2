"""The WSGI application: gunicorn and `manage.py runserver` both serve this one."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponseBase
from django.http.request import RawPostDataException

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "app.settings")
django.setup(set_prefix=False)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

View = Callable[..., HttpResponseBase]


class AtomicWritesHandler(WSGIHandler):
    """`ATOMIC_REQUESTS` only for requests that write.

    On SQLite a transaction takes the only write lock when it begins (`transaction_mode` IMMEDIATE), so a GET inside a
    transaction would wait for every order that is being placed. Safe methods change nothing and need no transaction.

    A transaction begins when the body has arrived: a client that sends half of it must hold no lock. Our web server
    waits for the whole request before it calls Django; others, such as `runserver`, do not.
    """

    def make_view_atomic(self, view: View) -> View:
        atomic_view: View = super().make_view_atomic(view)

        def view_by_method(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method in SAFE_METHODS:
                return view(request, *args, **kwargs)
            with suppress(RawPostDataException):  # a form that a middleware has read
                request.body  # noqa: B018 - read here, kept by the request
            return atomic_view(request, *args, **kwargs)

        return view_by_method


def limit_statements(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Have PostgreSQL end a statement that takes too long for a request. Workers and the relay have no such limit."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, false)", [f"{settings.STATEMENT_SECONDS}s"])


if settings.STATEMENT_SECONDS:
    connection_created.connect(limit_statements)

application = AtomicWritesHandler()
