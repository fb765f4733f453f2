"""`Message.history`: a line for each attempt that failed and for what people decided, by the database's clock."""

from outbox.sql import end_of, is_postgresql

#: How much of an error is kept, from its end, where a traceback names it.
ERROR_CHARACTERS = 20_000

#: How much of a history is kept, from its end.
HISTORY_CHARACTERS = 10_000


def with_line(text: str) -> str:
    """The history of a row with one more line, as SQL; `text` is what it says, as SQL too."""
    return end_of(f"history || {_date()} || ' UTC ' || {text} || '\n'", HISTORY_CHARACTERS)


def _date() -> str:
    if is_postgresql():
        return "to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
    return "strftime('%%Y-%%m-%%d %%H:%%M:%%S', 'now')"


def with_lost_attempt(*, unless: str = "FALSE") -> str:
    """The history of a row, with a line if it was running: its lease has ended, `unless` this is so. All as SQL."""
    line = with_line("'attempt ' || attempts || ' lost: the lease of ' || worker || ' ended'")
    return f"CASE WHEN state = 'running' AND begun_at IS NOT NULL AND NOT ({unless}) THEN {line} ELSE history END"


def legible(error: str) -> str:
    """The end of `error` as every database can store it: an error may quote what the other side sent."""
    return error[-ERROR_CHARACTERS:].encode(errors="backslashreplace").decode().replace("\0", "\\x00")
