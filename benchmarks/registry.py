"""All subjects. To add one, write a module here with a function `measure(seconds)`, and an entry in SUBJECTS."""

from dataclasses import dataclass

from benchmarks.compare import Aim

#: Settings by broker that differ from the defaults. The SQS emulator gets slow when its queue is long.
SMALL_WINDOWS: dict[str, dict[str, str]] = {"redis": {}, "rabbitmq": {}, "sqs": {"OUTBOX_MAX_IN_FLIGHT": "150"}}


@dataclass(frozen=True)
class Subject:
    name: str
    """The name of its module here."""
    title: str
    databases: tuple[str, ...]
    """The databases on which it is measured. Every subject is measured on every broker."""
    aims: dict[str, Aim]
    """The aim for each broker."""


def _everywhere(aim: Aim) -> dict[str, Aim]:
    return dict.fromkeys(("redis", "rabbitmq", "sqs"), aim)


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject(
            "enqueue",
            ".delay() into the ledger, against apply_async",
            ("postgresql", "sqlite"),
            _everywhere(Aim("≤", 0.7)),
        ),
        Subject(
            "relay",
            "relay, against apply_async in a loop",
            ("postgresql",),
            {"redis": Aim("≥", 4), "rabbitmq": Aim("≥", 3), "sqs": Aim("≥", 2)},
        ),
        Subject(
            "worker",
            "no-op tasks by a worker (prefork, 2 processes), against plain Celery's",
            ("postgresql",),
            _everywhere(Aim("≥", 0.8)),
        ),
    )
}
