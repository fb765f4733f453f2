"""A call of a durable task: what Celery would send, and the row that it becomes."""

# celery-types describes the documented part of a task only.
# mypy: disable-error-code="attr-defined"

from dataclasses import dataclass
from typing import Any

from outbox import instruments, ledger
from outbox.calls.options import as_datetime, checked_priority, checked_queue, checked_route, keep, message_id


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the ledger can keep."""

    task: Any
    args: Any
    kwargs: Any
    task_id: str | None
    options: dict[str, Any]
    """As they were given, with those that the task has declared."""
    kept: dict[str, Any]
    queue: str
    priority: int

    @classmethod
    def of(cls, task: Any, args: Any, kwargs: Any, task_id: Any, given: dict[str, Any]) -> "Call":
        """Check a call. Raises OptionRefusedError for what a row cannot keep, TypeError for wrong arguments."""
        if task.typing and (check_arguments := getattr(task, "__header__", None)):
            check_arguments(*args, **kwargs)
        if task._dump_pydantic_arguments is not None:
            args, kwargs = task._dump_pydantic_arguments(args, kwargs)
        shadow = given.get("shadow") or task.shadow_name(args, kwargs, given)
        declared = task._get_exec_options()
        kept = keep(task.name, {**given, "shadow": shadow}, _declared_by(task, declared))
        checked_queue(given.get("queue"), task.app.amqp.queues)
        options = {**declared, **given}
        route = task.app.amqp.router.route(dict(options), task.name, args, kwargs)
        queue = checked_route(task.name, route, task.app.conf.task_default_queue)
        priority = checked_priority(route.get("priority"))
        return cls(task, args, kwargs, str(task_id) if task_id else None, options, kept, queue, priority)

    def enqueue(self) -> Any:
        """Write the row, in the transaction that is open, if any; return the call's AsyncResult."""
        task, options = self.task, self.options
        parent = task.app.current_worker_task
        kept, priority = (self.kept, self.priority) if parent is None else self._of_family(parent.request)
        max_retries = getattr(task, "retry_kwargs", {}).get("max_retries", task.max_retries)
        wanted = message_id(self.task_id) if self.task_id else None
        if wanted and str(wanted) != self.task_id:
            kept = {**kept, "task_id": self.task_id}
        id = ledger.enqueue(
            task.name,
            self.args,
            self.kwargs,
            id=wanted,
            queue=self.queue,
            priority=priority,
            countdown=options.get("countdown") or 0,
            eta=as_datetime(options.get("eta")),
            expires=as_datetime(options.get("expires")),
            max_attempts=None if max_retries is None else max_retries + 1,
            headers=instruments.add_headers(task.name, options.get("headers")),
            occurrence=options.get("occurrence"),
            options=kept,
        )
        result = task.AsyncResult(self.task_id if id == wanted else str(id))
        if getattr(task.backend, "keeps_values", True):
            result.ignored = kept.get("ignore_result", task.ignore_result)
        if parent is not None and options.get("add_to_parent", True):
            parent.add_trail(result)
        return result

    def _of_family(self, parent: Any) -> tuple[dict[str, Any], int]:
        """What a task that calls another one hands down, as Celery has it."""
        family = {"root_id": parent.root_id or parent.id, "parent_id": parent.id}
        inherits = self.task.app.conf.task_inherit_parent_priority and self.options.get("priority") is None
        priority = (parent.delivery_info or {}).get("priority") if inherits else None
        return {**family, **self.kept}, self.priority if priority is None else checked_priority(priority)


def _declared_by(task: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Without the limits that the task has from the app: they may be more than its own."""
    conf = task.app.conf
    of_app = {"time_limit": conf.task_time_limit, "soft_time_limit": conf.task_soft_time_limit}
    return {name: value for name, value in options.items() if value != of_app.get(name, ...)}


def columns_of(task: Any, options: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """The columns that other `options` of a message change, which has `said` so far. Raises OptionRefusedError."""
    kept = keep(task.name, options, {})
    columns: dict[str, Any] = (
        {"options": ledger.encode({**said, **kept}, f"the options of {task.name}")} if kept else {}
    )
    checked_queue(options.get("queue"), task.app.amqp.queues)
    if options.get("queue"):
        columns["queue"] = getattr(options["queue"], "name", options["queue"])
    if options.get("priority") is not None:
        columns["priority"] = checked_priority(options["priority"])
    if options.get("expires") is not None:
        columns["expires_at"] = as_datetime(options["expires"])
    if options.get("headers"):
        columns["headers"] = ledger.encode(options["headers"], f"the headers of {task.name}")
    return columns
