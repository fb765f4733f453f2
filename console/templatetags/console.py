"""How the console's templates word ages, durations and names."""

from django import template

from console.presentation import describe_age, describe_duration
from outbox.results import last_line

register = template.Library()

register.filter("age", describe_age)
register.filter("duration", describe_duration)
register.filter("last_line", last_line)


@register.filter
def number(value: int) -> str:
    return f"{value:,}"


@register.filter
def short(task: str) -> str:
    """A task's name without its module."""
    return task.rpartition(".")[2]
