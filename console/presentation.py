"""How the outbox is shown to people: the same in the terminal, in the admin and on the console."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

#: An age is told in the first unit that there are fewer of than the last number: 90 s stay 90 s.
AGE_UNITS = [("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)]


def describe_age(seconds: float | None) -> str:
    """An age in its most telling unit: '7 s', '14 min', '3 h', '5 d'; '-' for none."""
    if seconds is None:
        return "-"
    for unit, size, most in AGE_UNITS:
        if seconds < size * most:
            return f"{max(seconds, 0) / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def describe_duration(seconds: float | None) -> str:
    """A duration, short ones exactly: '12 ms', '340 ms', '1.5 s', '14 min'; '-' for none."""
    if seconds is None or seconds >= AGE_UNITS[0][2]:
        return describe_age(seconds)
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    return f"{seconds:.1f}".removesuffix(".0") + " s"


#: What a worker tells only when it happens: the others are an ordinary day.
UNUSUAL_ANSWERS = ("refused", "expired", "unknown")


def unusual_answers(details: Mapping[str, Any]) -> dict[str, int]:
    """How many messages a worker has refused, or found expired or unknown, since it started; only what there is."""
    answers = details.get("answers", {})
    return {name: answers[name] for name in UNUSUAL_ANSWERS if answers.get(name)}


#: What of a heartbeat is for programs, or is told in other words.
UNTOLD = ("answers", "direct_tasks", "total")


def describe_details(details: Mapping[str, Any]) -> str:
    """What a process says of itself with its heartbeat: 'pool=prefork done=834 running=1 refused=3'."""
    shown = {**details, "running": len(details["running"])} if "running" in details else {**details}
    for name in UNTOLD:
        shown.pop(name, None)
    if isinstance(shown.get("schedules"), list):
        shown["schedules"] = len(shown["schedules"])
    shown |= unusual_answers(details)
    return " ".join(
        f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}" for name, value in shown.items()
    )


def format_status(status: Mapping[str, Any]) -> str:
    """`overview.describe_status()` and the schedules at a glance."""
    queues = [
        [row["queue"], row["pending"], row["due"], describe_age(row["lag_seconds"]),
         f"{row['published']} of {status['max_in_flight']}", row["running"], row["done"], row["dead"], row["discarded"]]
        for row in status["queues"]
    ]  # fmt: skip
    processes = [
        [process["name"], f"{describe_age(process['age_seconds'])} ago", describe_details(process["details"])]
        for process in status["processes"]
    ]
    headings = ["queue", "pending", "due", "lag", "in flight", "running", "done", "dead", "discarded"]
    schedules = [
        [each["name"], *(as_text(each[when]) if each[when] else "-" for when in ("last", "next"))]
        for each in status["schedules"]
    ]
    parts = [
        format_table(headings, queues),
        format_table(["process", "seen", ""], processes) if processes else "",
        format_table(["schedule", "last", "next"], schedules) if schedules else "",
    ]
    return "\n\n".join(part for part in [*parts, "\n".join(status["notes"])] if part)


def format_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns side by side, those of numbers flush right."""
    cells = [[heading.upper() for heading in headings], *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    signs = [">" if rows and all(isinstance(row[n], int) for row in rows) else "<" for n in range(len(headings))]
    return "\n".join(
        "  ".join(f"{cell:{sign}{width}}" for cell, sign, width in zip(line, signs, widths, strict=True)).rstrip()
        for line in cells
    )


def format_facts(facts: Mapping[str, object]) -> str:
    """A line for each short fact, then a block for each long one; nothing for what is empty."""
    texts = {name: as_text(value) for name, value in facts.items() if value not in (None, "", [], {})}
    width = max(map(len, texts))
    lines = [f"{name:{width}}  {printable(text)}" for name, text in texts.items() if "\n" not in text]
    for name, text in texts.items():
        if "\n" in text:
            lines += ["", f"{name}:", *(f"  {printable(line)}" for line in text.splitlines())]
    return "\n".join(lines)


def as_text(value: object) -> str:
    """One fact for a person."""
    if isinstance(value, bytes):
        return format_bytes(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S %Z}"
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return format_json(value) if isinstance(value, dict) else str(value)


def format_json(value: object, *, indent: int | None = 2) -> str:
    """`value` as JSON; what JSON has no word for as its text, bytes in hexadecimal."""

    def encode(part: object) -> str:
        if isinstance(part, datetime):
            return part.isoformat()
        return part.hex() if isinstance(part, bytes) else str(part)

    return json.dumps(value, indent=indent, ensure_ascii=False, default=encode)


def format_bytes(body: bytes, *, most: int = 1024) -> str:
    """The first `most` bytes, 16 to a line: where, in hexadecimal, as text."""
    parts = [(start, body[start : start + 16]) for start in range(0, min(len(body), most), 16)]
    return "\n".join(f"{start:08x}  {part.hex(' '):47}  {printable(part.decode('latin-1'))}" for start, part in parts)


def printable(text: str) -> str:
    """`text` with a dot in place of what a terminal would obey instead of show."""
    return "".join(character if character.isprintable() else "." for character in text)
