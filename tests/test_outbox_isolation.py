"""PostgreSQL as an administrator may have left it: another isolation level, a forgotten transaction."""

from collections.abc import Iterator
from functools import partial

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.db.models import F

from app.doctor import database
from outbox import apps, ledger
from outbox.models import Message
from tests.harness.crowd import at_once
from tests.outbox_rows import add, row, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases("postgresql")]


@pytest.fixture
def repeatable_read() -> Iterator[None]:
    """The default of the database is an isolation level under which concurrent updates fail."""
    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    connections.close_all()
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_isolation")
    connections.close_all()


def level() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        return str(cursor.fetchone()[0])


@pytest.mark.usefixtures("repeatable_read")
class TestAnotherDefault:
    def test_every_statement_and_transaction_is_read_committed_nonetheless(self) -> None:
        assert level() == "read committed"
        with transaction.atomic():
            assert level() == "read committed"

    def test_updates_of_one_row_at_once_wait_for_each_other(self) -> None:
        id = add()

        def count(times: int) -> None:
            for _ in range(times):
                with transaction.atomic():
                    assert Message.objects.exists()  # takes a snapshot, where one is taken once
                    Message.objects.filter(pk=id).update(attempts=F("attempts") + 1)

        at_once([partial(count, 20)] * 6)
        assert row(id).attempts == 120

    def test_relays_and_people_at_once_do_not_fail(self) -> None:
        ids = [add() for _ in range(200)]
        at_once([partial(take, 10)] * 6 + [partial(ledger.republish, by="ada")] * 4)
        assert Message.objects.filter(pk__in=ids).count() == 200

    def test_the_doctor_has_nothing_to_say_about_it(self) -> None:
        assert not [each for each in database.examine() if "isolation" in each.name]

    def test_the_doctor_says_where_to_change_it_if_it_matters(self) -> None:
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("RESET default_transaction_isolation")
        [finding] = [each for each in database.examine() if each.name == "default_transaction_isolation"]
        name = connection.settings_dict["NAME"]
        assert finding.level == "fail"
        assert finding.cure == f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'read committed';"
        connection.close()


def test_a_connection_is_told_once() -> None:
    connection.close()
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("RESET default_transaction_isolation")
        apps.pin_read_committed(connection)
        cursor.execute("SELECT source FROM pg_settings WHERE name = 'default_transaction_isolation'")
        assert cursor.fetchone() == ("default",)
    connection.close()


class TestOldTransactions:
    def test_one_that_has_been_open_for_long_is_named_with_the_cure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "old transaction" not in {each.name for each in database.examine()}
        monkeypatch.setattr(database, "OLD_TRANSACTION_SECONDS", 0)
        parameters = connection.get_connection_params() | {"cursor_factory": None, "context": None}
        with psycopg.connect(**parameters, application_name="forgotten") as other:
            other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT 1")
            pid = other.info.backend_pid
            [finding] = [each for each in database.examine() if each.name == "old transaction"]
            assert finding.level == "warn"
            assert f"(process {pid} of forgotten, idle in transaction)" in finding.message
            assert finding.cure == f"If it is forgotten: SELECT pg_terminate_backend({pid});"
            other.rollback()

    def test_a_replication_slot_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database, "OLD_SLOT_TRANSACTIONS", -1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_create_physical_replication_slot('tests')")
            assert "old transaction" not in {each.name for each in database.examine()}  # it holds nothing back
            cursor.execute("SELECT pg_drop_replication_slot('tests')")


def test_autovacuum_is_set_on_the_table_of_messages() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT unnest(reloptions) FROM pg_class WHERE relname = 'outbox_message'")
        options = dict(option.split("=") for (option,) in cursor.fetchall())
    assert options == {
        "autovacuum_vacuum_scale_factor": "0.01",
        "autovacuum_vacuum_threshold": "1000",
        "autovacuum_analyze_scale_factor": "0.02",
        "autovacuum_vacuum_cost_delay": "1",
    }
