from typing import Any
from weakref import WeakSet

from django.apps import AppConfig
from django.db.backends.signals import connection_created

#: Connections that read what is committed. A pool hands out the same ones again and again.
_pinned: WeakSet[Any] = WeakSet()


class OutboxConfig(AppConfig):
    name = "outbox"
    verbose_name = "Outbox"

    def ready(self) -> None:
        connection_created.connect(pin_read_committed, dispatch_uid="outbox.pin_read_committed")


def pin_read_committed(connection: Any, **_: Any) -> None:
    """Let each statement see what is committed when it begins, whatever the server's default is.

    Under another level a claim fails that meets another one, where it should wait. The option `isolation_level` of
    Django does not reach statements outside of a transaction.
    """
    if connection.vendor == "postgresql" and connection.connection not in _pinned:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_isolation = 'read committed'")
        _pinned.add(connection.connection)
