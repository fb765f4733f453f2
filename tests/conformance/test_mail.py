"""The mail server refuses, fails, freezes or dies. The pool matters where the sender does."""

import signal
import time
from functools import partial

import pytest

from tests.harness.ledger import Ledger
from tests.harness.processes import children, signal_all
from tests.harness.promise import assert_promise
from tests.harness.site import Site
from tests.harness.waiting import wait_until

#: EMAIL_TIMEOUT_SECONDS (10) and some.
TIMEOUT_SECONDS = 20.0


def wait_for_attempts(site: Site, number: int) -> None:
    """Return when so many orders wait for another attempt."""
    statement = "SELECT count(*) FROM outbox_message WHERE state = 'pending' AND attempts > 0"
    wait_until(lambda: site.database.query(statement)[0][0] >= number, f"{number} failed attempts")


def assert_repeated_once(site: Site, number: str) -> None:
    """The one repetition there can be: of an e-mail whose sender never learned that it was accepted."""
    first, second = site.mail_server.about(number)
    assert first.message_id == second.message_id
    assert site.record.repeated() == {number: 2, first.message_id: 2}
    site.record.allow_repetitions()
    assert_promise(site)


@pytest.mark.pools("prefork")
def test_a_mail_server_that_is_down_delays_emails_only(site: Site, fault_seconds: float) -> None:
    with site.same_worker():
        site.mail_server.stop()
        with site.customer() as customer:
            wait_for_attempts(site, 3)
            time.sleep(fault_seconds)
        site.mail_server.start()
        Ledger(site.database).hurry()
        assert_promise(site)

    customer.assert_untroubled()


@pytest.mark.pools("prefork")
@pytest.mark.parametrize("reply", ["421 closing", "451 try again later", "452 mailbox is full"])
def test_a_temporary_error_is_tried_again_until_the_mail_is_accepted(site: Site, reply: str) -> None:
    ledger = Ledger(site.database)
    with site.same_worker():
        site.mail_server.refuse(reply)
        order = site.service.shop.order()
        for attempt in (1, 2):
            wait_until(partial(has_failed, ledger, order, attempt), f"failed attempt {attempt}")
            assert reply[:3] in ledger.confirmation_of(order)["last_error"]
            if attempt == 2:
                site.mail_server.accept()
            ledger.hurry()
        assert_promise(site)
    assert ledger.confirmation_of(order)["attempts"] >= 3


def has_failed(ledger: Ledger, order: dict[str, str], attempts: int) -> bool:
    """Whether so many attempts have failed; the next one may already be under way."""
    message = ledger.confirmation_of(order)
    return bool(message["attempts"] > attempts or (message["state"] == "pending" and message["attempts"] == attempts))


@pytest.mark.pools("prefork")
@pytest.mark.parametrize("reply", ["554 not wanted", "550 no such mailbox"])
def test_a_permanent_error_is_dead_at_once_with_its_reason_and_can_be_replayed(site: Site, reply: str) -> None:
    ledger = Ledger(site.database)
    with site.same_worker():
        {"554": site.mail_server.refuse, "550": site.mail_server.refuse_recipients}[reply[:3]](reply)
        order = site.service.shop.order()
        message = ledger.wait_for(ledger.confirmation_of(order)["id"], "dead")
        site.mail_server.accept()

        assert message["attempts"] == 1
        assert reply[4:] in message["last_error"]
        assert not site.mail_server.about(order["number"])
        site.service.manage("outbox", "replay", str(message["id"]))
        assert_promise(site)


@pytest.mark.pools("prefork")
def test_a_mail_server_that_freezes_in_the_dialogue_is_given_up_and_tried_again(site: Site) -> None:
    ledger = Ledger(site.database)
    with site.same_worker():
        order = site.order_being_sent()
        wait_until(lambda: has_failed(ledger, order, 1), "the timeout", within_seconds=TIMEOUT_SECONDS)
        assert "timed out" in ledger.confirmation_of(order)["last_error"]
        site.mail_server.accept()
        ledger.hurry()
        assert_promise(site)


def test_a_mail_server_that_dies_before_it_says_yes_is_sent_the_same_message_id_again(site: Site) -> None:
    ledger = Ledger(site.database)
    with site.same_worker():
        site.mail_server.drop_after_accepting()
        order = site.service.shop.order()
        wait_until(lambda: has_failed(ledger, order, 1), "the failed attempt")
        site.mail_server.accept()
        ledger.hurry()
        wait_until(lambda: len(site.mail_server.about(order["number"])) == 2, "the repetition")

        assert_repeated_once(site, order["number"])


def kill_sender(site: Site) -> None:
    if site.pool == "prefork":
        signal_all(children(site.worker.pid), signal.SIGKILL)
    else:
        site.kill(site.worker)


def test_a_sender_that_dies_between_the_yes_and_the_commit_repeats_the_same_message_id(site: Site) -> None:
    ledger = Ledger(site.database)
    order = site.order_being_sent()
    with ledger.recording_blocked(order):
        site.mail_server.accept()
        site.mail_server.wait_for(order["number"])
        ledger.wait_until_blocked()
        kill_sender(site)

    site.heal()
    wait_until(lambda: len(site.mail_server.about(order["number"])) == 2, "the repetition")
    assert_repeated_once(site, order["number"])
    assert ledger.confirmation_of(order)["attempts"] == 2


def test_a_worker_that_dies_after_the_sender_has_recorded_the_email_does_not_repeat_it(site: Site) -> None:
    ledger = Ledger(site.database)
    order = site.order_being_sent()
    if site.pool == "prefork":
        # The process that sends is not the one that would hear of it.
        signal_all([site.worker.pid], signal.SIGSTOP)
    site.mail_server.accept()
    id = ledger.wait_for(ledger.confirmation_of(order)["id"], "done")["id"]
    site.kill(site.worker)

    site.heal()
    assert_promise(site)
    assert len(site.mail_server.about(order["number"])) == 1
    assert ledger.message(id)["attempts"] == 1
    timeline = site.service.shop.request("GET", f"/orders/{order['order_id']}/events/").json()["results"]
    story = ["placed", "confirmation_queued", "confirmation_attempted", "confirmation_sent"]
    assert [event["kind"] for event in timeline] == story


def test_a_worker_that_dies_before_the_email_is_recorded_and_settled_records_neither(site: Site) -> None:
    ledger = Ledger(site.database)
    order = site.order_being_sent()
    id = ledger.confirmation_of(order)["id"]
    with ledger.settling_blocked(id):
        site.mail_server.accept()
        site.mail_server.wait_for(order["number"])
        ledger.wait_until_blocked()
        assert site.service.shop.request("GET", f"/orders/{order['order_id']}/").json()["status"] == "placed"
        site.kill(site.worker)

    site.heal()
    wait_until(lambda: len(site.mail_server.about(order["number"])) == 2, "the repetition")
    assert_repeated_once(site, order["number"])
