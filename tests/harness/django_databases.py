"""Django's test database on SQLite and on PostgreSQL, in one run of pytest.

Our code knows one database, the alias 'default', so what that stands for is exchanged between the tests.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from settings.connections import database


@contextmanager
def default_database(url: str) -> Iterator[None]:
    """Make the database at `url`, migrate it and let it be Django's, in every thread, while the block runs."""
    before = connections.settings[DEFAULT_DB_ALIAS]
    configuration = database(url)
    # The name as it is: Django would add 'test_', and keep SQLite in memory, where threads lock each other out.
    _exchange({**configuration, "TEST": {"NAME": configuration["NAME"]}})
    try:
        creation = connections[DEFAULT_DB_ALIAS].creation
        creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        yield
        creation.destroy_test_db(url, verbosity=0)
    finally:
        _exchange(before)


def _exchange(configuration: dict[str, Any]) -> None:
    connections[DEFAULT_DB_ALIAS].close()
    del connections[DEFAULT_DB_ALIAS]
    connections.settings[DEFAULT_DB_ALIAS] = configuration
    connections.configure_settings(connections.settings)  # adds Django's defaults
