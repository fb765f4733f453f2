"""Every statement of the ledger uses the primary key or the index made for it, whatever PostgreSQL knows of the table.

In three states: fresh; many rows and never analysed; 300,000 done and 100,000 waiting, analysed. Statements that a
connection prepares are planned generically, without looking at their parameters, as PostgreSQL does after five times.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection, transaction

from brokers.wire import TaskMessage
from outbox import ledger, sql
from outbox.ledger import Claim, Runnable
from outbox.models import new_message_id
from tests.harness.waiting import wait_until
from tests.outbox_rows import QUEUE, TASK, WORKER
from tests.test_outbox_order import new_lane
from workers.relaying.lane import Lane

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases("postgresql"), pytest.mark.timeout(120)]

DONE, WAITING = 300_000, 100_000

#: Rows a second apart, with ids in the order of time as `uuid7` makes them; a tenth has priority 9.
FILL = """INSERT INTO outbox_message (id, task, arguments, headers, queue, priority, state, wanted_at, due_at, worker,
        attempts, replayed_after, publishes, last_error, history, created_at, published_at, finished_at, lease)
    SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '7000' || substr(md5(n::text), 1, 16))::uuid, %(task)s,
        '[[], {}]', '{}', %(queue)s, (n %% 10 = 0)::int * 9, %(state)s, at, at, '', 0, 0, 0, '', '', at, at,
        CASE WHEN %(state)s IN ('done', 'dead') THEN at END, NULL
    FROM generate_series(%(first)s::bigint, %(first)s::bigint + %(count)s - 1) AS n,
        LATERAL (SELECT now() - interval '10 days' + n * interval '1 second') AS time (at)"""


def fill(state: str, rows: int, *, first: int = 0) -> None:
    sql.run(FILL, {"state": state, "count": rows, "first": first, "task": TASK, "queue": QUEUE})


def claims(number: int = 8) -> list[Claim]:
    return [Claim(new_message_id(), uuid4(), TASK, QUEUE, 1, 0, None, "[[], {}]", "{}") for _ in range(number)]


ids = [each.id for each in claims()]
KNOWN = Runnable(known=frozenset({TASK, "tests.other"}), paused=frozenset({"tests.paused"}))

#: Every statement of the ledger, by what it is for.
STATEMENTS: dict[str, Callable[[], object]] = {
    "enqueue": lambda: ledger.enqueue(TASK, [], {}, queue=QUEUE),
    "enqueue an occurrence": lambda: ledger.enqueue(TASK, [], {}, queue=QUEUE, occurrence="report@2026"),
    "take_due": lambda: ledger.take_due(QUEUE, limit=200, lost_after_seconds=30),
    "take_due, what is urgent": lambda: ledger.take_due(QUEUE, limit=200, lost_after_seconds=30, least_priority=5),
    "take_due, what workers know": lambda: ledger.take_due(QUEUE, limit=200, lost_after_seconds=30, runnable=KNOWN),
    "count_in_flight": lambda: ledger.count_in_flight(QUEUE),
    "release_lost": lambda: ledger.release_lost(QUEUE, limit=100),
    "postpone_overdue": lambda: ledger.postpone_overdue(QUEUE, seconds=30),
    "put_back": lambda: ledger.put_back(ids),
    "set_aside": lambda: ledger.set_aside(ids, KNOWN, give_up_days=3),
    "set_due_aside": lambda: ledger.set_due_aside(QUEUE, KNOWN, limit=1000, give_up_days=3),
    "make_due": lambda: ledger.make_due(QUEUE, KNOWN),
    "extend_leases": lambda: ledger.extend_leases(20),
    "claim": lambda: ledger.claim(ids, token=uuid4(), worker=WORKER, lease_seconds=20),
    "explain": lambda: ledger.explain(ids),
    "refuse": lambda: ledger.refuse(claims(), ["is unknown"] * 8, worker=WORKER, give_up_days=3),
    "begin": lambda: ledger.begin(claims(), lease_seconds=20),
    "begin one": lambda: ledger.begin(claims(1), lease_seconds=20),
    "begin many": lambda: ledger.begin(claims(100), lease_seconds=20),
    "renew": lambda: ledger.renew(claims(), lease_seconds=20),
    "release": lambda: ledger.release(claims()),
    "complete_all": lambda: ledger.complete_all(claims(), [0.1] * 8),
    "complete_all of many": lambda: ledger.complete_all(claims(100), [0.1] * 100),
    "retry": lambda: ledger.retry(claims(1)[0], error="no", countdown=3),
    "fail": lambda: ledger.fail(claims(1)[0], error="no"),
    "cut_short": lambda: ledger.cut_short(claims(1)[0], error="no"),
    "waits_unclaimed": lambda: ledger.waits_unclaimed(QUEUE, seconds=60),
    "complete_messages": lambda: ledger.complete_messages([TaskMessage(id, TASK) for id in ids]),
    "hand_over": lambda: ledger.hand_over(ids),
    "bury": lambda: ledger.bury(ids[0], "is too large"),
    "release_unconfirmed": lambda: ledger.release_unconfirmed(QUEUE),
    "revoke": lambda: ledger.revoke(ids, by="ada"),
    "terminate": lambda: ledger.terminate(ids, by="ada"),
    "find_terminated": lambda: ledger.find_terminated(claims()),
    "replay": lambda: ledger.replay(ids, by="ada"),
    "discard": lambda: ledger.discard(ids, by="ada"),
    "prune": lambda: ledger.prune(keep_days=7, limit=1000),
    "prune_dead": lambda: ledger.prune_dead(keep_days=7, limit=1000),
}

#: The index that is for those that are not asked for by their ids.
INDEXES = {
    "take_due": "outbox_due",
    "set_due_aside": "outbox_due",
    "make_due": "outbox_due",
    "extend_leases": "outbox_due",
    "count_in_flight": "outbox_in_flight",
    "release_lost": "outbox_in_flight",
    "postpone_overdue": "outbox_in_flight",
    "release_unconfirmed": "outbox_in_flight",
    "waits_unclaimed": "outbox_in_flight",
    "prune": "outbox_finished",
    "prune_dead": "outbox_dead",
}


@contextmanager
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Any, bool]]]:
    """The statements that are run while the block runs, with their parameters, and whether they are prepared."""
    found: list[tuple[str, Any, bool]] = []
    prepared = sql._query_prepared

    def note_prepared(statement: str, params: Any) -> Any:
        found.append((statement, params, True))
        with connection.execute_wrapper(lambda execute, *rest: execute(*rest)):
            return prepared(statement, params)

    def note(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        found.append((statement, params, False))
        return execute(statement, params, many, context)

    with monkeypatch.context() as patch:
        patch.setattr(sql, "_query_prepared", note_prepared)
        with connection.execute_wrapper(note):
            yield found


def plan(statement: str, params: Any, *, is_prepared: bool) -> str:
    """How PostgreSQL runs a statement; a prepared one with a plan that fits any parameters."""
    with connection.cursor() as cursor:
        if not is_prepared:
            cursor.execute(f"EXPLAIN {statement}", params)
            return "\n".join(line for (line,) in cursor.fetchall())
    raw = psycopg.ClientCursor(connection.connection)
    values = params
    if isinstance(params, Mapping):
        names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
        statement = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement)
        values = [params[name] for name in names]
    numbers = count(1)
    numbered = re.sub("%s", lambda _: f"${next(numbers)}", statement).replace("%%", "%")
    raw.execute(f"PREPARE explained AS {numbered}")
    raw.execute("SET plan_cache_mode = force_generic_plan")
    raw.execute(f"EXPLAIN EXECUTE explained ({sql.marks(values)})", values)
    found = "\n".join(line for (line,) in raw.fetchall())
    raw.execute("DEALLOCATE explained; RESET plan_cache_mode")
    return found


def plans(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch, *, kept_only: bool = False) -> list[str]:
    with transaction.atomic():
        with seen(monkeypatch) as statements:
            work()
        chosen = [each for each in statements if each[2] or not kept_only]
        explained = [plan(text, params, is_prepared=prepared) for text, params, prepared in chosen]
        transaction.set_rollback(True)
    assert statements
    return explained


def bad_plans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What does not use the primary key, or the index that was made for it, and reads the table itself, or both."""
    found = []
    for name, work in STATEMENTS.items():
        index = INDEXES.get(name.partition(",")[0], "outbox_message_pkey")
        for text in plans(work, monkeypatch):
            # An INSERT reads nothing.
            if "Seq Scan on outbox_message" in text or (index not in text and not text.startswith("Insert")):
                found.append(f"{name}:\n{text}")
    return found


def lookups_by_another_index(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked for by id, and is looked for in an index over a state.

    PostgreSQL does that on a small table, and a connection that has prepared the statement keeps that plan while the
    table grows.
    """
    asked_by_id = [name for name in STATEMENTS if name.partition(",")[0] not in INDEXES]
    found = [text for name in asked_by_id for text in plans(STATEMENTS[name], monkeypatch, kept_only=True)]
    return [text for text in found if re.search("using outbox_(due|in_flight|dead|finished)", text)]


def test_every_statement_uses_its_index_in_every_state(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    with subtests.test("fresh"):
        assert not (bad := lookups_by_another_index(monkeypatch)), "\n\n".join(bad)
    sql.run("ALTER TABLE outbox_message SET (autovacuum_enabled = off)", [])
    try:
        fill("done", DONE)
        fill("dead", 1000, first=DONE)
        fill("pending", WAITING, first=DONE + 1000)
        fill("published", 1000, first=DONE + WAITING + 1000)
        with subtests.test("many rows, never analysed"):
            assert not (bad := bad_plans(monkeypatch)), "\n\n".join(bad)
        sql.run("ANALYZE outbox_message", [])
        with subtests.test("many rows, analysed"):
            assert not (bad := bad_plans(monkeypatch)), "\n\n".join(bad)
    finally:
        sql.run("ALTER TABLE outbox_message RESET (autovacuum_enabled)", [])


def test_what_is_pruned_is_found_without_walking_over_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    fill("dead", 5000)
    fill("done", 100, first=5000)
    sql.run("ANALYZE outbox_message", [])
    with transaction.atomic():
        before = blocks_read()
        assert ledger.prune(keep_days=0, limit=10) == 10
        assert blocks_read() - before < 200


def blocks_read() -> int:
    """How many blocks of the table of messages and of its indexes this transaction has read, from memory or disk."""
    [(blocks,)] = sql.query(
        """SELECT pg_stat_get_xact_blocks_fetched('outbox_message'::regclass)
            + (SELECT sum(pg_stat_get_xact_blocks_fetched(indexrelid)) FROM pg_index
               WHERE indrelid = 'outbox_message'::regclass)""",
        [],
    )
    return int(blocks)


# --- A snapshot that is held open -------------------------------------------------------------------------------------

#: How many messages pass while it is.
PASSED = 20_000

#: How many of them at a time.
BATCH = 5_000


@contextmanager
def open_snapshot() -> Iterator[None]:
    """Another connection's transaction that has seen the database as it is now, such as a backup's."""
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None, "context": None}) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("SELECT count(*) FROM outbox_message")
        yield
        other.rollback()


def pass_by(lane: Lane, messages: int) -> None:
    """Let so many messages be enqueued, published, claimed and done."""
    for _ in range(messages // BATCH):
        for _ in range(BATCH // 1000):
            # Each due at a moment of its own, as those of real life are.
            sql.run(
                FILL.replace(
                    "now() - interval '10 days' + n * interval '1 second'",
                    "clock_timestamp() + n * interval '0'",
                ).replace(
                    "(lpad(to_hex(1700000000000 + n), 12, '0') || '7000' || substr(md5(n::text), 1, 16))::uuid",
                    "gen_random_uuid()",
                ),
                {"state": "pending", "count": 1000, "first": 0, "task": TASK, "queue": QUEUE},
            )
        while unfinished():
            lane.look()
            sql.run(
                """UPDATE outbox_message SET state = 'running', due_at = now() + interval '20 seconds'
                WHERE state = 'published'""",
                [],
            )
            sql.run("UPDATE outbox_message SET state = 'done', finished_at = now() WHERE state = 'running'", [])


def unfinished() -> bool:
    return bool(sql.query("SELECT 1 FROM outbox_message WHERE finished_at IS NULL LIMIT 1", []))


def look_and_count(lane: Lane) -> tuple[int, int]:
    """How many messages a look has published, and how many blocks it has read."""
    lane._below_at = float("inf")
    with transaction.atomic():
        before = blocks_read()
        published = lane.look()
        return published, blocks_read() - before


def cost_of_looks(lane: Lane) -> tuple[int, int]:
    """Blocks that a look reads which finds nothing, and one that finds a batch."""
    nothing, idle = look_and_count(lane)
    for _ in range(200):
        ledger.enqueue(TASK, [], {}, queue=QUEUE)
    batch, full = look_and_count(lane)
    assert (nothing, batch) == (0, 200)
    sql.run("UPDATE outbox_message SET state = 'done', finished_at = now() WHERE state = 'published'", [])
    return idle, full


def test_a_snapshot_that_is_held_open_makes_no_look_dearer() -> None:
    """What has passed leaves entries in the indexes as long as some transaction could see it: they are not read."""
    lane = new_lane(max_in_flight=2 * BATCH, batch_size=BATCH)
    pass_by(lane, BATCH)
    settle(lane)
    idle, full = cost_of_looks(lane)
    with open_snapshot():
        pass_by(lane, PASSED)
        settle(lane)
        idle_then, full_then = cost_of_looks(lane)
        lane._floor = ledger.Floor()
        _, without_floor = look_and_count(lane)
    assert idle_then <= 1.5 * idle
    assert full_then <= 1.5 * full
    assert without_floor > 10 * idle  # or there was nothing to see here


def settle(lane: Lane) -> None:
    """Look until what has passed counts as passed: transactions might still commit what was due then."""
    [(latest,)] = sql.query("SELECT extract(epoch FROM max(published_at))::float8 FROM outbox_message", [])
    wait_until(
        lambda: lane.look() == 0 and min(lane._floor.due[0], lane._floor.published) > latest,
        "the floor to rise",
        every_seconds=0.1,
    )
