"""A worker in the test's own process: the ledger, the tracer and the task are real; only the broker is left out."""

from uuid import UUID, uuid4

from celery import states
from celery.app.trace import trace_task

from app.celery import app
from brokers.wire import TaskMessage
from outbox.models import Message
from tests.outbox_rows import let_pass, take


def run_due_tasks() -> list[str]:
    """Run every message of the outbox that is due; return the states they ended in, in Celery's words."""
    return [deliver(message_id) for message_id in take()]


def run_retries() -> list[str]:
    """The same, after so much time that every retry is due."""
    let_pass(100_000)
    return run_due_tasks()


def deliver(message_id: UUID) -> str:
    """Hand a message to the tracer, as a worker does that received it."""
    task = app.tasks[Message.objects.get(pk=message_id).task]
    headers = {**TaskMessage(uuid4(), task.name).headers, "id": str(message_id), "root_id": str(message_id)}
    delivery = {"exchange": "", "routing_key": "default", "redelivered": False}
    request = {**headers, "hostname": "worker@test", "delivery_info": delivery}
    _, info, _, _ = trace_task(task, str(message_id), (), {}, request, app=app)
    return str(info.state) if info else states.SUCCESS
