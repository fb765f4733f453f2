"""A task that is called by its name is as durable as `.delay()`, whatever this process has imported."""

from collections.abc import Callable
from uuid import UUID

import pytest
from celery import shared_task
from django.db import transaction

from app.celery import app
from outbox.errors import OptionRefusedError
from outbox.models import Message
from tests.outbox_rows import row, seconds_from_now

pytestmark = pytest.mark.django_db

#: Only workers know it.
ELSEWHERE = "elsewhere.tasks.resize"


@shared_task
def known(number: int) -> None:
    """Known here."""


def send_task(name: str) -> str:
    return str(app.send_task(name, [1], {"size": "large"}, countdown=60, priority=7).id)


def signature(name: str) -> str:
    called = app.signature(name, args=[1], kwargs={"size": "large"}, countdown=60, priority=7)
    return str(called.apply_async().id)


@pytest.mark.parametrize("call", [send_task, signature])
def test_it_is_a_row_with_its_arguments_and_options(call: Callable[[str], str]) -> None:
    message = row(UUID(call(ELSEWHERE)))
    assert (message.task, message.state, message.priority, message.queue) == (ELSEWHERE, "pending", 7, "default")
    assert message.arguments == '[[1], {"size": "large"}]'
    assert message.max_attempts == 61
    assert 50 < seconds_from_now(message.id) <= 60


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", [ELSEWHERE, known.name])
def test_a_transaction_that_is_rolled_back_leaves_nothing(name: str) -> None:
    with transaction.atomic():
        app.send_task(name, [1])
        app.signature(name, args=[1]).delay()
        transaction.set_rollback(True)
    assert not Message.objects.exists()


def test_it_is_not_registered_by_being_called() -> None:
    app.send_task(ELSEWHERE, [1])
    assert ELSEWHERE not in app.tasks


def test_what_a_row_cannot_keep_is_refused_as_ever() -> None:
    with pytest.raises(OptionRefusedError, match="nobody would relay it"):
        app.send_task(ELSEWHERE, [1], queue="nobodys")
    with pytest.raises(OptionRefusedError, match="link"):
        app.send_task(ELSEWHERE, [1], link=app.signature(ELSEWHERE))
    assert not Message.objects.exists()
