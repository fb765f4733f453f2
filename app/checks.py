"""Django system checks of a production environment: settings that work, but are not meant for production."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Warning, register
from django.core.mail import get_connection
from django.core.mail.backends.smtp import EmailBackend
from django.db import connection


@register(deploy=True)
def check_production(**kwargs: Any) -> Iterator[CheckMessage]:
    if not isinstance(get_connection(), EmailBackend):
        hint = "Set EMAIL_URL, as in smtp+tls://user:password@mail.example.com:587."
        yield Warning("EMAIL_URL names no mail server: customers get no e-mail.", hint=hint, id="app.W001")
    if connection.vendor == "sqlite":
        problem = "DATABASE_URL is a SQLite file: one host, and one writer at a time."
        yield Warning(problem, hint="Use postgresql://.", id="app.W002")
