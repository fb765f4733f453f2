"""Where PostgreSQL and SQLite say the same thing differently, and how the statements of the ledger are run."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.db import Error, InterfaceError, OperationalError, connection

LOWEST_PRIORITY, HIGHEST_PRIORITY = 0, 9

#: How those of PostgreSQL's codes begin that mean: this connection is no more.
GONE = ("08", "57P")

#: Whether no attempt is left, as SQL; what was tried before a replay does not count.
SPENT_ATTEMPTS = "attempts - replayed_after >= max_attempts"

#: What becomes of a message that a broker or a worker had and that waits again, since when it did before, as SQL.
WAITS_AGAIN = "state = 'pending', due_at = wanted_at, publishes = 0"

Rows = list[tuple[Any, ...]]
Params = Sequence[Any] | Mapping[str, Any]


def is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def now() -> str:
    """The database's clock, as SQL."""
    return "statement_timestamp()" if is_postgresql() else "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"


def later(seconds: str) -> str:
    """The database's clock plus `seconds` (an SQL expression), as SQL."""
    if is_postgresql():
        return f"statement_timestamp() + ({seconds}) * interval '1 second'"
    # printf: SQLite does not take 1e-05 for a number of seconds.
    return f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', printf('%%.6f seconds', {seconds}))"


def moment(when: datetime | float | None) -> tuple[str, Any]:
    """A moment, or one so many seconds from now by the database's clock, as SQL and its parameter."""
    return (later("%s"), when) if isinstance(when, int | float) else ("%s", timestamp(when))


def skip_locked() -> str:
    """Lets several relays share the work. SQLite has one writer at a time and needs none of it."""
    return "FOR UPDATE SKIP LOCKED" if is_postgresql() else ""


def epoch(moment: str) -> str:
    """A moment as seconds since 1970, as SQL."""
    if is_postgresql():
        return f"extract(epoch FROM {moment})::float8"
    return f"((julianday({moment}) - 2440587.5) * 86400.0)"


def at_epoch(seconds: str) -> str:
    """The moment that is so many seconds (an SQL expression) after the start of 1970, as SQL."""
    return (
        f"to_timestamp({seconds})"
        if is_postgresql()
        else f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', {seconds}, 'unixepoch')"
    )


def iso(moment: str) -> str:
    """A moment as ISO 8601 writes it, in UTC, as SQL."""
    if is_postgresql():
        return f"""to_char({moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""
    return f"replace({moment}, ' ', 'T') || '+00:00'"


def between(value: str, least: float, most: float) -> str:
    """A number, but not less and not more than so much, as SQL."""
    return f"CASE WHEN {value} < {least} THEN {least} WHEN {value} > {most} THEN {most} ELSE {value} END"


def is_among(ids: str) -> str:
    """The condition that the id is one of those that a query finds, as SQL.

    PostgreSQL is given them as an array: whatever it believes of how many they are, it uses the primary key.
    """
    return f"id = ANY(ARRAY({ids}))" if is_postgresql() else f"id IN ({ids})"


def marks(values: Collection[Any]) -> str:
    """As many placeholders as there are values."""
    return ", ".join(["%s"] * len(values))


#: The columns of `given`, and what they are in PostgreSQL.
GIVEN = {"given_id": "uuid", "given_lease": "uuid", "given_seconds": "double precision"}


def given(rows: Sequence[tuple[Any, ...]]) -> tuple[str, list[Any]]:
    """A table of parameters for FROM, and the parameters: ids, leases and, if there is a third column, seconds.

    It is filled up with empty rows to a power of two, so that few different statements have to be prepared.
    """
    width = len(rows[0])
    names = list(GIVEN)[:width]
    padded = [*rows, *[(None,) * width] * ((1 << (len(rows) - 1).bit_length()) - len(rows))]
    params = [value for row in padded for value in row]
    if is_postgresql():
        first = ", ".join(f"%s::{GIVEN[name]}" for name in names)
        values = ", ".join([f"({first})", *[f"({marks(names)})"] * (len(padded) - 1)])
        return f"(VALUES {values}) AS given ({', '.join(names)})", params
    columns = ", ".join(f"column{number} AS {name}" for number, name in enumerate(names, 1))
    return f"(SELECT {columns} FROM (VALUES {', '.join([f'({marks(names)})'] * len(padded))}))", params


def end_of(text: str, characters: int) -> str:
    """The last so many characters of an SQL expression, as SQL."""
    return f"right({text}, {characters})" if is_postgresql() else f"substr({text}, -{characters})"


def key(id: UUID) -> Any:
    """A message id as the database keeps it."""
    return id if is_postgresql() else id.hex


def uuid(value: Any) -> UUID:
    """A message id as the database gave it."""
    return value if isinstance(value, UUID) else UUID(value)


def timestamp(value: datetime | None) -> Any:
    """A time as the database keeps it."""
    return connection.ops.adapt_datetimefield_value(value) if value else None


def query(sql: str, params: Params) -> Rows:
    """Run a statement that returns rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def query_prepared(sql: str, params: Params) -> Rows:
    """`query` for what is asked for each task: PostgreSQL parses and plans it once per connection.

    That takes as long as running it. Only for statements whose plan stays the same however much is stored: it is kept.
    """
    connection.close_if_health_check_failed()
    return _query_prepared(sql, params)


def _query_prepared(sql: str, params: Params) -> Rows:
    if not is_postgresql():
        return query(sql, params)
    connection.ensure_connection()
    # Django's own cursors write parameters into the statement, so no two are the same. This one is wrapped as they are.
    with connection._prepare_cursor(psycopg.Cursor(connection.connection)) as cursor:  # type: ignore[attr-defined]
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def run(sql: str, params: Params) -> int:
    """Run a statement; returns how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


def is_connection_lost(error: Error) -> bool:
    """Whether `error` means that the connection is gone or never came about, not that a statement failed on it."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    if not connection.is_usable():
        return True
    # At the end of a transaction Django has replaced a connection that was lost in it: this one is another.
    cause = error.__cause__
    return isinstance(cause, psycopg.Error) and (cause.sqlstate or "08000").startswith(GONE)
