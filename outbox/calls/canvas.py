"""Chains, groups, chords and maps: of tasks that have no rows.

What Celery hangs on a message (`link`, `chain`, `chord`) no row keeps, so a durable task can be no step of any of them.
That is said before the first step is published, not by the worker that comes to the second.
"""

from collections import UserList
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from celery import canvas

from outbox.calls.options import CANVAS_CURE
from outbox.errors import OptionRefusedError

#: What of Celery's canvas publishes more than one task. The one-task signatures ask the task itself.
KINDS: tuple[Any, ...] = (canvas._chain, canvas.chord, canvas.chunks, canvas.group, canvas.xmap, canvas.xstarmap)

#: Celery's own tasks, which are parts of its canvas.
CELERYS_OWN = "celery."

#: Where a signature keeps others: in its keyword arguments, and in its options.
STEPS = ("tasks", "header", "body", "task")
FOLLOWERS = ("link", "link_error", "chain", "chord")


def refuse_durable_steps(what: str, app: Any, steps: Iterable[Any]) -> None:
    """Raise OptionRefusedError if one of the signatures, or what follows from one, is a durable task's."""
    for task in durable_among(steps, app):
        raise OptionRefusedError(f"{task} is durable, and no part of a {what} can be. {CANVAS_CURE}")


def durable_among(steps: Iterable[Any], app: Any) -> Iterator[str]:
    """The names of durable tasks among signatures and all that they contain.

    Steps that a generator will make are not made for this: Celery makes them one by one, and so each speaks for itself.
    """
    for step in steps:
        if isinstance(step, Mapping):
            yield from _durable_in(step, app)
        elif step is not None and not isinstance(step, UserList):  # Celery's `regen`, which reads when it is looked at
            yield from durable_among(step, app)


def followers(options: Mapping[str, Any]) -> list[Any]:
    """What the options of a call hang on it."""
    return [options[name] for name in FOLLOWERS if options.get(name)]


def _durable_in(step: Mapping[str, Any], app: Any) -> Iterator[str]:
    name, options, kwargs = step["task"], step.get("options") or {}, step.get("kwargs") or {}
    yield from durable_among(followers(options), app)
    if step.get("subtask_type") or name.startswith(CELERYS_OWN):
        yield from durable_among([kwargs.get(each) for each in STEPS], app)
    elif getattr(app.tasks.get(name), "durable", options.get("durable", True)):
        yield name


def _checked(kind: Any) -> Callable[..., Any]:
    apply_async = kind.apply_async
    what = kind.__name__.strip("_")

    @wraps(apply_async)
    def checked(self: Any, *args: Any, **options: Any) -> Any:
        app = self.app
        if getattr(app, "keeps_a_ledger", False) and not _is_alone(self, options):
            refuse_durable_steps(what, app, [self, *followers(options)])
        return apply_async(self, *args, **options)

    return checked


def _is_alone(step: Any, options: Mapping[str, Any]) -> bool:
    """Whether it is a chain of one task, which Celery calls as it would call the task."""
    return isinstance(step, canvas._chain) and len(step.tasks) == 1 and not followers({**step.options, **options})


for each in KINDS:
    each.apply_async = _checked(each)
