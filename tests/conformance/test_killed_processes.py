"""Any process of the service is killed (SIGKILL) at its worst moment, and started again by a supervisor."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from tests.harness.processes import children, signal_all
from tests.harness.promise import assert_promise
from tests.harness.site import PLACES, Site
from tests.harness.waiting import wait_until

#: Orders whose requests hang in the database while the web server is killed.
HANGING = 3

#: How often a pool dies in a row.
ROUNDS = 10


@contextmanager
def locked_stock(site: Site) -> Iterator[None]:
    """While the block runs no order can be finished: each waits for the row of its product."""
    with psycopg.connect(site.database.url) as connection:
        connection.execute("SELECT 1 FROM orders_product FOR UPDATE")
        yield


def count_waiting_for_stock(site: Site) -> int:
    statement = """SELECT count(*) FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND datname = current_database()"""
    return int(site.database.query(statement)[0][0])


def test_an_order_that_web_did_not_live_to_answer_is_whole_or_not_there(site: Site) -> None:
    with ExitStack() as customers:
        with locked_stock(site):
            for _ in range(HANGING):
                customers.enter_context(site.customer(every_seconds=0.1))
            wait_until(lambda: count_waiting_for_stock(site) == HANGING, "requests in the middle of their transaction")
            site.kill(site.web)
        site.wait_until_up()
        # Once more at any moment, some of them after the commit.
        site.kill(site.web)
        site.wait_until_up()

    assert_promise(site)
    # Those that were committed but not answered have their e-mail, too.
    orders = site.database.query("SELECT count(*) FROM orders_order")[0][0]
    assert site.record.confirmed() == orders


def test_the_relay_dies_between_marking_and_publishing(site: Site) -> None:
    site.relay_network.swallow()
    order = site.service.shop.order()
    wait_until(lambda: site.database.states()["published"], "a message that is marked and cannot be published")

    site.kill(site.relay)

    assert not site.mail_server.about(order["number"])
    site.heal()
    assert_promise(site)


def test_the_relay_dies_right_after_publishing(site: Site) -> None:
    site.freeze(site.worker)
    site.relay_network.delay(0.7)  # the broker's answer is under way for so long
    site.service.shop.order()
    wait_until(site.service.depth, "a message that the broker has, and the relay does not know")

    site.kill(site.relay)

    site.heal()
    assert_promise(site)


@pytest.mark.pools("prefork")
def test_a_pool_process_dies_while_it_sends(site: Site) -> None:
    with site.same_worker():
        site.mail_server.hold()
        site.service.shop.order()
        with site.interrupted(every=False):
            signal_all(children(site.worker.pid), signal.SIGKILL)

        assert_promise(site)


@pytest.mark.pools("prefork")
def test_a_pool_dies_while_the_connection_is_cut(site: Site) -> None:
    """Again and again: it takes both within a moment, see workers/pool.py."""
    with site.same_worker():
        for _ in range(ROUNDS):
            signal_all(children(site.worker.pid), signal.SIGKILL)
            site.worker_network.cut()
            wait_until(lambda: len(children(site.worker.pid)) == PLACES, "another pool")

        site.service.shop.order()
        assert_promise(site)


@pytest.mark.pools("prefork")
def test_a_worker_dies_and_its_pool_with_it(site: Site) -> None:
    site.mail_server.hold()
    site.service.shop.order()
    with site.interrupted(every=False):
        os.kill(site.worker.pid, signal.SIGKILL)

    assert_promise(site)


def test_whole_workers_die_again_and_again_under_load(site: Site) -> None:
    """With messages in the queue, some that the worker has taken in advance, and an e-mail half sent in each place."""
    with site.customer(every_seconds=0.1) as customer:
        for _ in range(3):
            customer.wait_for(customer.accepted + 10)
            with site.interrupted():
                site.kill(site.worker)
            site.wait_until_up()

    customer.assert_untroubled()
    assert_promise(site)


@pytest.mark.pools("prefork")
def test_a_task_that_kills_its_process_is_dead_after_its_attempts_and_the_worker_serves_on(site: Site) -> None:
    with site.same_worker():
        site.service.manage("shell", "-v", "0", "-c", ENQUEUE_KILLER)
        wait_until(lambda: last_killer(site)[0] == "dead", "the dead letter", within_seconds=60)
        site.service.shop.order()
        assert_promise(site)

    _, attempts, error = last_killer(site)
    assert attempts == 3
    assert "killed" in error


@pytest.mark.pools("threads")
def test_a_task_that_kills_its_worker_is_dead_after_its_attempts(site: Site) -> None:
    ends_before = len(site.supervisor.ends_of(site.worker))
    site.service.manage("shell", "-v", "0", "-c", ENQUEUE_KILLER)
    wait_until(lambda: last_killer(site)[0] == "dead", "the dead letter", within_seconds=90)
    site.heal()
    site.service.shop.order()
    assert_promise(site)

    assert last_killer(site)[1] == 3
    assert len(site.supervisor.ends_of(site.worker)) - ends_before == 3


ENQUEUE_KILLER = "from tests.harness.trouble.tasks import exhaust_memory; exhaust_memory.delay()"


def last_killer(site: Site) -> tuple[str, int, str]:
    """State, attempts and last error of the task that ends its process."""
    [row] = site.database.query(
        """SELECT state, attempts, last_error FROM outbox_message
           WHERE task = 'tests.harness.trouble.tasks.exhaust_memory' ORDER BY id DESC LIMIT 1"""
    )
    return row
