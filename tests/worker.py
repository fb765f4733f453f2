"""A worker in the test's own process: the ledger, the tracer and the task are real; only the broker is left out."""

from uuid import UUID, uuid4

from celery import states

from app.celery import app
from outbox import ledger
from outbox.running import Kind, Outcome, headers_of, run_claim, settle
from tests.outbox_rows import LEASE_SECONDS, WORKER, let_pass, take

STATES = {
    Kind.DONE: states.SUCCESS,
    Kind.RETRY: states.RETRY,
    Kind.DEAD: states.FAILURE,
    Kind.CUT_SHORT: states.RETRY,
    Kind.REFUSED: states.REJECTED,
    Kind.EXPIRED: states.REVOKED,
}


def run_due_tasks() -> list[str]:
    """Run every message of the outbox that is due; return the states they ended in, in Celery's words."""
    return [deliver(message_id) for message_id in take()]


def run_retries() -> list[str]:
    """The same, after so much time that every retry is due."""
    let_pass(100_000)
    return run_due_tasks()


def deliver(message_id: UUID) -> str:
    """Do with a message what a worker does that received it; return how it ended, in Celery's words."""
    claims = ledger.claim([message_id], token=uuid4(), worker=WORKER, lease_seconds=LEASE_SECONDS)
    if not claims:
        ledger.explain([message_id])
        return states.IGNORED
    ledger.begin(claims, lease_seconds=LEASE_SECONDS)
    outcome = run(claims[0])
    settle(claims[0], outcome, worker=WORKER)
    return STATES[outcome.kind]


def run(claim: ledger.Claim) -> Outcome:
    """Run a claim, and return what its process would tell the worker."""
    delivery = {"exchange": "", "routing_key": "default", "redelivered": False}
    request = {**headers_of(claim, app.tasks[claim.task]), "hostname": WORKER, "delivery_info": delivery}
    *_, outcome = run_claim(app, claim, request)
    return outcome
