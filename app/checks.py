"""Django system checks of a production environment: settings that work, but are not meant for production."""

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import User
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.mail import get_connection
from django.core.mail.backends.smtp import EmailBackend
from django.db import DatabaseError, connection

#: The users that `manage.py seed_demo` makes. Their passwords are their names.
TRIAL_USERS = ("admin", "demo")


@register(deploy=True)
def check_production(**kwargs: Any) -> Iterator[CheckMessage]:
    if not isinstance(get_connection(), EmailBackend):
        hint = "Set EMAIL_URL, as in smtp+tls://user:password@mail.example.com:587."
        yield Warning("EMAIL_URL names no mail server: customers get no e-mail.", hint=hint, id="app.W001")
    if connection.vendor == "sqlite":
        problem = "DATABASE_URL is a SQLite file: one host, and one writer at a time."
        yield Warning(problem, hint="Use postgresql://.", id="app.W002")
    for name in find_trial_users():
        problem = f"The user {name!r} has a password that everybody knows: {name}, from seed_demo."
        yield Error(problem, hint=f"manage.py changepassword {name}, or delete the user.", id="app.E001")


def find_trial_users() -> list[str]:
    """Return the users of `seed_demo` whose passwords are still their names. Empty if the database does not answer."""
    try:
        users = list(User.objects.filter(username__in=TRIAL_USERS, is_active=True))
    except DatabaseError:
        return []
    return [user.username for user in users if check_password(user.username, user.password)]
