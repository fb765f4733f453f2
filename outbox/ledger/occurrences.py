"""Occurrences of schedules: a message for each, named by its schedule and the time that it was due."""

from datetime import datetime

from outbox.models import Message


def name_occurrence(schedule: str, moment: datetime) -> str:
    """`moment` is in UTC, so that the hour that comes twice by the clock has two names."""
    return f"{schedule}@{moment.isoformat()}"


def last_occurrence(schedule: str) -> datetime | None:
    """When a schedule was last due, as far as the ledger remembers."""
    made = Message.objects.filter(occurrence__isnull=False, occurrence__startswith=f"{schedule}@")
    occurrence = made.order_by("-created_at").values_list("occurrence", flat=True).first()
    return datetime.fromisoformat(occurrence.rpartition("@")[2]) if occurrence else None
