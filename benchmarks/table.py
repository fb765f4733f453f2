"""The table of outcomes. It suits a terminal and a Markdown file."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.compare import Outcome
from benchmarks.registry import Subject

HEADINGS = ("measured", "broker", "database", "ours", "plain", "ratio", "half of the pairs", "aim", "")


@dataclass(frozen=True)
class Line:
    subject: Subject
    outcome: Outcome
    broker: str
    database: str

    @property
    def cells(self) -> tuple[str, ...]:
        result, aim = self.outcome, self.subject.aims[self.broker]
        return (
            result.what,
            self.broker,
            self.database,
            f"{result.ours:,.0f} {result.unit}",
            f"{result.plain:,.0f} {result.unit}",
            f"{result.ratio:.2f} x",
            f"{result.low:.2f} to {result.high:.2f} ({result.pairs})",
            f"{aim} x",
            "reached" if aim.is_met(result.ratio) else "missed",
        )


def format_table(lines: Sequence[Line]) -> str:
    rows = [HEADINGS, *(line.cells for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )
