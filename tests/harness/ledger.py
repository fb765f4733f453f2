"""What a test reads from the ledger of a service in operation, and time that passes there. PostgreSQL only."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from tests.harness.databases import Database
from tests.harness.waiting import DEFAULT_SECONDS, wait_until

Row = dict[str, Any]

#: Who waits for a lock that somebody else holds.
WAITING_FOR_A_LOCK = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


class Ledger:
    """The messages of one service's database, read and changed past the service."""

    def __init__(self, database: Database) -> None:
        self._url = database.url

    def execute(self, statement: LiteralString, *parameters: Any) -> list[Row]:
        with psycopg.connect(self._url, row_factory=dict_row, connect_timeout=5) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def message(self, id: UUID) -> Row:
        [row] = self.execute("SELECT * FROM outbox_message WHERE id = %s", id)
        return row

    def confirmation_of(self, order: Row) -> Row:
        """The message that stands for the e-mail of an order, as the API answered it."""
        hex = UUID(order["order_id"]).hex
        [row] = self.execute("SELECT * FROM outbox_message WHERE arguments LIKE %s", f"%{hex}%")
        return row

    def wait_for(self, id: UUID, state: str, *, within_seconds: float = DEFAULT_SECONDS) -> Row:
        """The message, as soon as it is in `state`."""
        wait_until(lambda: self.message(id)["state"] == state, f"message {id} {state}", within_seconds=within_seconds)
        return self.message(id)

    def copy(self, id: UUID, number: int) -> None:
        """Make so many copies of a message, due now, of the priorities 0 to 8; faster than to enqueue them."""
        self.execute(
            """INSERT INTO outbox_message SELECT (jsonb_populate_record(original, jsonb_build_object(
            'id', gen_random_uuid(), 'priority', copy %% 9, 'due_at', now(), 'wanted_at', now()))).*
            FROM outbox_message AS original, generate_series(1, %s) AS copy WHERE original.id = %s""",
            number, id,
        )  # fmt: skip

    def count(self, subject: str, condition: LiteralString = "true") -> int:
        """How many messages there are whose arguments contain `subject`, and which fulfil an SQL condition."""
        statement: LiteralString = "SELECT count(*) AS number FROM outbox_message WHERE arguments LIKE %s AND "
        return int(self.execute(statement + condition, f"%{subject}%")[0]["number"])

    def hurry(self) -> None:
        """Let the time of all that waits for one have come: nobody has to wait for a backoff."""
        self.execute("UPDATE outbox_message SET due_at = now(), wanted_at = now() WHERE state = 'pending'")

    @contextmanager
    def settling_blocked(self, id: UUID) -> Iterator[None]:
        """While the block runs nobody can change the message. Who waits for that when it ends is cut off."""
        with self._blocked("SELECT 1 FROM outbox_message WHERE id = %s FOR UPDATE", id):
            yield

    @contextmanager
    def recording_blocked(self, order: Row) -> Iterator[None]:
        """The same for the order: nobody can record that its confirmation was sent."""
        with self._blocked("SELECT 1 FROM orders_order WHERE order_id = %s FOR UPDATE", UUID(order["order_id"])):
            yield

    @contextmanager
    def _blocked(self, statement: LiteralString, key: UUID) -> Iterator[None]:
        with psycopg.connect(self._url) as connection:
            connection.execute(statement, [key])
            try:
                yield
            finally:
                self.execute(f"SELECT pg_terminate_backend(pid) {WAITING_FOR_A_LOCK}")

    def wait_until_blocked(self) -> None:
        """Return when somebody waits for a lock."""
        wait_until(lambda: self.execute(f"SELECT 1 {WAITING_FOR_A_LOCK}"), "somebody who waits for a lock")

    def poison(self) -> dict[str, Row]:
        """What workers could not read, by key."""
        return {row["key"]: row for row in self.execute("SELECT * FROM outbox_poisonmessage")}
