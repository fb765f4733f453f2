"""Messages that come twice, that are forged, or that say more than a broker can carry."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from brokers.wire import TaskMessage
from tests.conformance.conftest import in_full_length
from tests.harness.foreign import push_message
from tests.harness.ledger import Ledger
from tests.harness.promise import assert_promise
from tests.harness.site import Site
from tests.harness.waiting import wait_until

TASK = "orders.tasks.send_order_confirmation_email"

#: How often a broker delivers one message, all of them at once. Few enough for every broker, more than a worker takes.
COPIES = 20

MEGABYTES_5 = 5 * 1024 * 1024

#: Longer than the lease (3 s) and the visibility timeouts (10 s) of a site.
LONG_TASK_SECONDS = 12

#: Longer than those of production, too; only where faults last as long as in production.
LONGER_TASK_SECONDS = 180


def test_a_message_that_is_delivered_many_times_at_the_same_moment_runs_once(site: Site) -> None:
    with site.same_worker():
        site.freeze(site.worker)
        order = site.service.shop.order()
        ledger = Ledger(site.database)
        wait_until(lambda: ledger.confirmation_of(order)["state"] == "published", "the published message")
        message = ledger.confirmation_of(order)
        copies = [TaskMessage(message["id"], TASK)] * COPIES
        site.service.profile.publish(site.service.queue, copies)

        site.heal()

        assert_promise(site)
        site.service.profile.publish(site.service.queue, copies)  # and once more when it has long been done
        assert_promise(site)
    assert ledger.message(message["id"])["attempts"] == 1


def test_a_message_that_is_delivered_again_while_it_runs_runs_once(site: Site) -> None:
    with site.same_worker():
        order = site.order_being_sent()
        ledger = Ledger(site.database)
        id = ledger.confirmation_of(order)["id"]

        site.service.profile.publish(site.service.queue, [TaskMessage(id, TASK)] * COPIES)

        wait_until(lambda: site.service.depth() == 0, "copies that have all been looked at")
        site.mail_server.accept()
        assert_promise(site)
    assert ledger.message(id)["attempts"] == 1


def test_a_forged_id_has_no_effect(site: Site) -> None:
    known = Ledger(site.database).poison()
    with site.same_worker():
        mails = len(site.mail_server.mails)
        forged = [uuid4() for _ in range(COPIES)]
        site.service.profile.publish(site.service.queue, [TaskMessage(id, TASK) for id in forged])
        site.service.shop.order()
        assert_promise(site)

    assert len(site.mail_server.mails) == mails + 1
    kept = [row["reason"] for key, row in Ledger(site.database).poison().items() if key not in known]
    assert sorted(kept) == sorted(f"is for {id}, and the ledger has no such message" for id in forged)


def test_forged_arguments_limits_and_callbacks_of_a_real_message_have_no_effect(site: Site) -> None:
    ledger = Ledger(site.database)
    with site.same_worker():
        site.freeze(site.relay)  # so that the worker gets the forged message, and no other
        order = site.service.shop.order()
        id = ledger.confirmation_of(order)["id"]
        forged = {"timelimit": [0.001, 0.001], "expires": "2000-01-01T00:00:00Z", "retries": 99}
        arguments = [order["order_id"], "thief@example.com"]
        callback = {"task": "tests.harness.errands.tasks.send", "args": ["forged"], "kwargs": {}, "options": {}}
        body = [arguments, {}, {"callbacks": [callback], "errbacks": [callback], "chain": None, "chord": None}]
        push_message(site.service, json.dumps(body).encode(), {**TaskMessage(id, TASK).headers, **forged})

        site.mail_server.wait_for(order["number"])
        site.heal()
        assert_promise(site)

    [mail] = site.mail_server.about(order["number"])
    assert mail.recipients == ("demo@example.com",)
    assert not ledger.execute("SELECT 1 FROM outbox_message WHERE arguments LIKE %s", "%forged%")


@pytest.mark.pools("prefork")
def test_five_megabytes_of_arguments_travel_on_every_broker(site: Site) -> None:
    subject = f"measured {uuid4()}"

    id = site.enqueue("measure", subject, "x" * MEGABYTES_5)

    assert site.mail_server.wait_for(subject).text.strip() == str(MEGABYTES_5)
    ledger = Ledger(site.database)
    ledger.wait_for(id, "done")
    ledger.execute("DELETE FROM outbox_message WHERE id = %s", id)  # other cases need not read it


@pytest.mark.pools("prefork")
@pytest.mark.parametrize("option", ["eta", "countdown"])
def test_what_is_due_in_a_month_waits_in_the_database_and_runs_when_its_time_has_come(site: Site, option: str) -> None:
    subject = f"in a month by {option} {uuid4()}"
    delay = timedelta(days=30)
    later = {"eta": (datetime.now(UTC) + delay).isoformat(), "countdown": delay.total_seconds()}

    id = site.enqueue("send", subject, **{option: later[option]})

    ledger = Ledger(site.database)
    for _ in range(2):  # orders that came later come first
        order = site.service.shop.order()
        site.mail_server.wait_for(order["number"])
    message = ledger.message(id)
    assert (message["state"], message["published_at"], site.service.depth()) == ("pending", None, 0)
    assert abs(message["due_at"] - message["created_at"] - delay) < timedelta(seconds=5)
    ledger.hurry()
    site.mail_server.wait_for(subject)
    assert_promise(site)
    assert len(site.mail_server.about(subject)) == 1


@pytest.mark.pools("prefork")
def test_a_task_that_fails_six_times_succeeds_in_its_seventh_attempt(site: Site) -> None:
    subject = f"seventh {uuid4()}"

    id = site.enqueue("fail_at_first", subject, 6)

    assert site.mail_server.wait_for(subject).text.strip() == "after 6 failures"
    message = Ledger(site.database).wait_for(id, "done")
    assert (message["attempts"], message["last_error"]) == (7, "")


@pytest.mark.pools("prefork")
def test_many_retries_that_wait_do_not_delay_a_fresh_order(site: Site) -> None:
    ledger = Ledger(site.database)
    mark = f"hopeless {uuid4()}"
    site.mail_server.refuse("451 not now")
    for number in range(COPIES):
        site.enqueue("send", f"{mark} {number}")
    postpone = """UPDATE outbox_message SET due_at = now() + interval '1 hour'
                  WHERE state = 'pending' AND attempts > 0 AND arguments LIKE %s RETURNING id"""
    wait_until(lambda: len(ledger.execute(postpone, f"%{mark}%")) == COPIES, "retries that wait")
    site.mail_server.accept()

    order = site.service.shop.order()

    site.mail_server.wait_for(order["number"], within_seconds=5)
    assert len(site.mail_server.about(mark)) == 0
    ledger.hurry()
    assert_promise(site)
    assert len(site.mail_server.about(mark)) == COPIES


@pytest.mark.pools("prefork")
def test_what_has_expired_on_the_broker_is_not_run(site: Site) -> None:
    ledger = Ledger(site.database)
    with site.same_worker():
        site.freeze(site.worker)
        late = site.enqueue("send", "too late", expires=0.5)
        wait_until(lambda: ledger.message(late)["state"] == "published", "the published message")
        wait_until(
            lambda: ledger.execute("SELECT 1 FROM outbox_message WHERE id = %s AND expires_at < now()", late), "time"
        )
        site.heal()
        in_time = site.enqueue("send", "in time", expires=60)

        assert "expired" in ledger.wait_for(late, "dead")["last_error"]
        ledger.wait_for(in_time, "done")
    assert not site.mail_server.about("too late")
    assert_promise(site)


@pytest.mark.timeout(400)
def test_a_task_that_outlasts_every_timeout_of_a_broker_runs_once(site: Site, pytestconfig: pytest.Config) -> None:
    seconds = LONGER_TASK_SECONDS if in_full_length(pytestconfig) else LONG_TASK_SECONDS
    subject = f"late {uuid4()}"
    with site.same_worker():
        id = site.enqueue("send_late", subject, seconds)

        message = Ledger(site.database).wait_for(id, "done", within_seconds=seconds + 30)

    assert message["attempts"] == 1
    assert len(site.mail_server.about(subject)) == 1
    assert_promise(site)
