"""The schedules of beat: when each was last due, and when it is due next."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from celery import current_app

from outbox.ledger.occurrences import last_occurrence


def describe_schedules(processes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the beats among the `processes` that are alive tell of their schedules, by name.

    Without one the ledger still knows when the schedules of the settings were last due. Nobody knows what is next.
    """
    beats = [each for each in processes if each["kind"] == "beat"]
    if not beats:
        plans: dict[str, dict[str, Any]] = current_app.conf.beat_schedule or {}
        return [
            {"name": name, "task": plan.get("task"), "last": last_occurrence(name), "next": None}
            for name, plan in sorted(plans.items())
        ]
    told: dict[str, list[dict[str, Any]]] = {}
    for beat in beats:
        for schedule in beat["details"].get("schedules", []):
            told.setdefault(schedule["name"], []).append(schedule)
    return [
        {
            **schedules[0],
            "last": max(moments(schedules, "last"), default=None),
            "next": min(moments(schedules, "next"), default=None),
        }
        for _, schedules in sorted(told.items())
    ]


def moments(schedules: Sequence[dict[str, Any]], name: str) -> list[datetime]:
    """When several beats say that it was last due, or is next."""
    return [datetime.fromisoformat(each[name]) for each in schedules if each[name]]
