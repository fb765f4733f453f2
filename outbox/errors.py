"""What can be wrong with a task, as the outbox sees it."""

from collections.abc import Callable
from functools import cache

from celery.exceptions import Reject
from django.conf import settings
from django.utils.module_loading import import_string


class OptionRefusedError(ValueError):
    """Raised by `apply_async` for an option that the ledger cannot keep; nothing has been enqueued."""


def is_final(error: BaseException) -> bool:
    """Whether trying again cannot help, whatever the task says of its retries.

    The task itself rejects its message, or a function that the setting OUTBOX_FINAL_ERRORS names says so. (What is
    final for one task only is in its `dont_autoretry_for`, which Celery heeds.)
    """
    names = tuple(getattr(settings, "OUTBOX_FINAL_ERRORS", ()))
    return isinstance(error, Reject) or any(judge(error) for judge in _judges(names))


@cache
def _judges(names: tuple[str, ...]) -> list[Callable[[BaseException], bool]]:
    return [import_string(name) for name in names]
