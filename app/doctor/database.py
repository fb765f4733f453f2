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
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [[row[0] for row in PARAMETERS]])
        found = dict(cursor.fetchall())
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
        cure = f"ALTER SYSTEM SET {name} = '{good}'; SELECT pg_reload_conf();"
        yield Finding("fail", name, f"{found[name]}: {otherwise}.", cure)
    if not wrong:
        yield Finding("ok", "durability", "A commit is on the disk before it is answered; read committed.")


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
