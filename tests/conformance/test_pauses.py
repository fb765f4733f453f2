"""A queue or task that is paused while everything is in operation."""

from tests.harness.ledger import Ledger
from tests.harness.promise import assert_promise
from tests.harness.site import Site

ERRAND = "tests.harness.errands.tasks.send"


def test_a_task_that_is_paused_waits_while_others_run_and_goes_on_when_it_is_resumed(site: Site) -> None:
    site.service.manage("outbox", "pause", "--task", ERRAND)
    try:
        paused = [site.enqueue("send", "paused") for _ in range(5)]
        other = site.enqueue("measure", "another task", "1234")
        ledger = Ledger(site.database)
        ledger.wait_for(other, "done")
        assert {ledger.message(id)["attempts"] for id in paused} == {0}
        assert not site.mail_server.about("paused")
    finally:
        site.service.manage("outbox", "resume", "--task", ERRAND)
    for id in paused:
        ledger.wait_for(id, "done")
    assert_promise(site)


def test_what_runs_ends_while_its_queue_is_paused_and_orders_are_accepted(site: Site) -> None:
    running = site.order_being_sent()
    ledger = Ledger(site.database)
    site.service.manage("outbox", "pause", site.service.queue)
    try:
        waiting = site.service.shop.order()
        site.mail_server.accept()
        ledger.wait_for(ledger.confirmation_of(running)["id"], "done")
        assert ledger.confirmation_of(waiting)["attempts"] == 0
    finally:
        site.service.manage("outbox", "resume", site.service.queue)
    ledger.wait_for(ledger.confirmation_of(waiting)["id"], "done")
    assert_promise(site)
