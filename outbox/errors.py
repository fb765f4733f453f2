"""What can be wrong with a task, as the outbox sees it."""

from collections.abc import Callable
from functools import cache
from traceback import walk_tb

from celery.exceptions import Reject
from django.conf import settings
from django.utils.module_loading import import_string
from pydantic import ValidationError

#: The module of Celery's function that turns the arguments of a task into pydantic's models.
WRAPPER = "celery.app.base"


class OptionRefusedError(ValueError):
    """Raised for what the ledger cannot keep of a call; nothing has been enqueued. Inside of a task it is final."""


def is_final(error: BaseException) -> bool:
    """Whether trying again cannot help, whatever the task says of its retries.

    The task itself rejects its message, its arguments are not what it takes, it calls another task in a way that
    cannot be, or a function that the setting OUTBOX_FINAL_ERRORS names says so. (What is final for one task only is in
    its `dont_autoretry_for`, which Celery heeds.)
    """
    names = tuple(getattr(settings, "OUTBOX_FINAL_ERRORS", ()))
    return (
        isinstance(error, (OptionRefusedError, Reject))
        or is_about_arguments(error)
        or any(judge(error) for judge in _judges(names))
    )


def is_about_arguments(error: BaseException) -> bool:
    """Whether pydantic has refused the arguments of a task, which then did not begin."""
    if not isinstance(error, ValidationError):
        return False
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    # Celery's wrapper around the task has then called pydantic, not the task.
    while modules and modules[-1].startswith("pydantic"):
        modules.pop()
    return modules[-1:] == [WRAPPER]


@cache
def _judges(names: tuple[str, ...]) -> list[Callable[[BaseException], bool]]:
    return [import_string(name) for name in names]
