"""The database. It is the record of everything, so the promises depend on its settings."""

import time
from collections.abc import Iterator

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from brokers import Finding

#: If clocks differ by more, log files of two hosts are hard to compare, and tokens expire early or late.
SKEW_SECONDS = 2.0

#: Parameters of PostgreSQL, the value that each must have, and what happens otherwise.
PARAMETERS = [
    ("fsync", "on", "a crash of the server may destroy the database"),
    ("full_page_writes", "on", "a crash of the server may destroy pages of the database"),
    ("synchronous_commit", "on", "a crash of the server loses orders it has confirmed"),
    ("default_transaction_isolation", "read committed", "concurrent orders and claims fail instead of waiting"),
    ("default_transaction_read_only", "off", "no order can be accepted"),
]

#: A transaction that has been open for longer is worth a look: a backup, a report, or a session somebody has forgotten.
OLD_TRANSACTION_SECONDS = 600

#: The same for a replication slot, of which PostgreSQL only tells how many transactions have begun since.
OLD_SLOT_TRANSACTIONS = 1_000_000

#: What is older than that, and what to do about it. A role sees the transactions of others only as a member of
#: pg_monitor.
OLD_TRANSACTIONS = """
    SELECT format('%%s (process %%s of %%s, %%s) has had a transaction open for %%s min', backend_type, pid,
            COALESCE(NULLIF(application_name, ''), 'no name'), state,
            round(extract(epoch FROM now() - xact_start) / 60)),
        format('If it is forgotten: SELECT pg_terminate_backend(%%s);', pid)
    FROM pg_stat_activity WHERE datname = current_database() AND backend_type <> 'autovacuum worker'
        AND xact_start < now() - %(old)s * interval '1 second' AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
    UNION ALL
    SELECT format('The prepared transaction %%L has been open for %%s min', gid,
            round(extract(epoch FROM now() - prepared) / 60)),
        format('COMMIT PREPARED %%L; or ROLLBACK PREPARED %%L;', gid, gid)
    FROM pg_prepared_xacts WHERE database = current_database() AND prepared < now() - %(old)s * interval '1 second'
    UNION ALL
    SELECT format('The replication slot %%s holds back %%s transactions', slot_name, age(xmin)),
        format('Start its standby again, or: SELECT pg_drop_replication_slot(%%L);', slot_name)
    FROM pg_replication_slots WHERE age(xmin) > %(slot)s"""


def examine() -> Iterator[Finding]:
    connection.ensure_connection()
    yield Finding("ok", "reachable", describe())
    yield from _examine_postgresql() if connection.vendor == "postgresql" else _examine_sqlite()
    executor = MigrationExecutor(connection)
    if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        first = f"{plan[0][0].app_label}.{plan[0][0].name}"
        yield Finding("fail", "migrations", f"{len(plan)} are not applied, the first is {first}.", "manage.py migrate")
    else:
        yield Finding("ok", "migrations", "All are applied.")


def describe() -> str:
    """Return kind, version and address, without user and password."""
    place = connection.settings_dict
    version = ".".join(map(str, connection.get_database_version()))
    host = f" at {place['HOST'] or 'localhost'}:{place['PORT'] or 5432}" if connection.vendor == "postgresql" else ""
    return f"{connection.display_name} {version}, {place['NAME']}{host}"


def _examine_postgresql() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        skew = float(cursor.fetchone()[0]) - (before + time.time()) / 2
        names = [row[0] for row in PARAMETERS]
        cursor.execute("SELECT name, setting, source FROM pg_settings WHERE name = ANY(%s)", [names])
        rows = cursor.fetchall()
        found, sources = {name: value for name, value, _ in rows}, {name: source for name, _, source in rows}
        # All other values wait for this server's disk, and some for more.
        found["synchronous_commit"] = "off" if found["synchronous_commit"] == "off" else "on"
        cursor.execute("SELECT pg_is_in_recovery()")
        is_standby = cursor.fetchone()[0]
    if abs(skew) > SKEW_SECONDS:
        message = f"The clock here is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the database's."
        yield Finding("warn", "clock", message, "Let both hosts keep time by NTP.")
    else:
        yield Finding("ok", "clock", f"It agrees with the one here to {abs(skew):.1f} s.")
    if is_standby:
        yield Finding("fail", "role", "It is a standby, which takes no orders.", "Point DATABASE_URL at the primary.")
    wrong = [row for row in PARAMETERS if found[row[0]] != row[1]]
    for name, good, otherwise in wrong:
        cure = _cure(name, good, sources[name])
        yield Finding("fail", name, f"{found[name]}: {otherwise}.", cure)
    if not wrong:
        yield Finding("ok", "durability", "A commit is on the disk before it is answered; read committed.")
    yield from _examine_horizon()


def _cure(name: str, good: str, source: str) -> str:
    """The statement that changes a parameter where it was set."""
    database, user = connection.settings_dict["NAME"], connection.settings_dict["USER"]
    where = {
        "database": f'DATABASE "{database}"',
        "user": f'ROLE "{user}"',
        "database user": f'ROLE "{user}" IN DATABASE "{database}"',
    }
    if source in where:
        return f"ALTER {where[source]} SET {name} = '{good}';"
    return f"ALTER SYSTEM SET {name} = '{good}'; SELECT pg_reload_conf();"


def _examine_horizon() -> Iterator[Finding]:
    """What keeps PostgreSQL from cleaning up: the table of messages and its indexes grow for as long as it lasts."""
    with connection.cursor() as cursor:
        cursor.execute(OLD_TRANSACTIONS, {"old": OLD_TRANSACTION_SECONDS, "slot": OLD_SLOT_TRANSACTIONS})
        old = cursor.fetchall()
    for what, cure in old:
        message = f"{what}: nothing that was deleted or changed since is cleaned up, and the tables grow."
        yield Finding("warn", "old transaction", message, cure)
    if not old:
        minutes = OLD_TRANSACTION_SECONDS / 60
        yield Finding("ok", "transactions", f"None of this database has been open for {minutes:.0f} min.")


def _examine_sqlite() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        journal, synchronous = (
            cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        )
    if journal != "wal":
        message = f"journal_mode is {journal}: readers and the writer wait for each other."
        yield Finding("fail", "journal", message, "Put the file on a local disk: WAL does not work on a network drive.")
    elif synchronous < 2:
        yield Finding(
            "fail", "durability", "synchronous is not FULL: a power cut loses orders.", "Restart the service."
        )
    else:
        yield Finding("ok", "durability", "A commit is on the disk before it is answered.")
