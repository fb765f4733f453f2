"""PostgreSQL goes away: for everybody, or for the worker alone. An order that was answered with 201 is in it."""

import time

import psycopg
import pytest

from tests.harness.databases import PostgresDatabase
from tests.harness.ledger import Ledger
from tests.harness.postgres import PostgresServer
from tests.harness.promise import Customer, assert_promise
from tests.harness.site import Site
from tests.harness.waiting import wait_until


def server_of(site: Site) -> PostgresServer:
    database = site.database
    assert isinstance(database, PostgresDatabase)
    return database.server


def assert_answered(customer: Customer) -> None:
    """The web server answered everybody, those with an error whom it could not help."""
    assert customer.accepted
    assert all(failure[0] == "5" for failure in customer.failed), customer.failed[0]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_that_is_restarted_under_load_loses_no_order_it_has_confirmed(site: Site, mode: str) -> None:
    server = server_of(site)
    ends = len(site.supervisor.ends)
    with site.customer(every_seconds=0.05) as customer:
        for _ in range(2):
            customer.wait_for(customer.accepted + 20)
            if mode == "immediate":
                server.kill()
                server.start()
            else:
                server.restart()
        customer.wait_for(customer.accepted + 20)

    assert_answered(customer)
    assert_promise(site)
    assert len(site.supervisor.ends) == ends, "no process of the service has to be started again"


def test_while_the_database_is_away_customers_are_told_so_and_no_order_is_lost(
    site: Site, fault_seconds: float
) -> None:
    server = server_of(site)
    ends = len(site.supervisor.ends)
    with site.customer() as customer:
        customer.wait_for(5)
        server.stop()
        wait_until(lambda: customer.failed, "an order that cannot be accepted")
        time.sleep(fault_seconds)
        server.start()
        customer.wait_for(customer.accepted + 5)

    assert_answered(customer)
    assert_promise(site)
    assert len(site.supervisor.ends) == ends


def test_a_database_that_is_away_while_an_email_is_sent_does_not_make_it_two(site: Site, fault_seconds: float) -> None:
    server = server_of(site)
    with site.same_worker():
        order = site.order_being_sent()
        server.stop()
        site.mail_server.accept()
        site.mail_server.wait_for(order["number"])
        time.sleep(fault_seconds)  # longer than the lease
        server.start()
        assert_promise(site)


def test_a_worker_that_is_cut_off_while_it_sends_settles_when_it_is_back(site: Site, fault_seconds: float) -> None:
    """Its lease ends in the meantime, and the relay publishes the message again: to the same worker, which waits."""
    with site.same_worker():
        order = site.order_being_sent()
        site.database_network.refuse()
        site.mail_server.accept()
        site.mail_server.wait_for(order["number"])
        time.sleep(fault_seconds)
        site.database_network.heal()
        assert_promise(site)

    assert Ledger(site.database).confirmation_of(order)["attempts"] == 1


def test_a_database_that_is_frozen_while_emails_are_sent_delays_them_only(site: Site, fault_seconds: float) -> None:
    server = server_of(site)
    ends = len(site.supervisor.ends)
    site.mail_server.hold()
    with site.customer() as customer:
        # By then each thread of web has its connection: to make one takes an answer of the database.
        customer.wait_for(40)
        site.mail_server.wait_until_held()
        server.freeze()
        site.mail_server.accept()
        time.sleep(fault_seconds)
        server.thaw()
        customer.wait_for(customer.accepted + 5)

    customer.assert_untroubled()
    assert_promise(site)
    assert len(site.supervisor.ends) == ends


def test_connections_to_the_database_that_are_cut_again_and_again_lose_nothing(site: Site) -> None:
    with site.same_worker():
        with site.customer(every_seconds=0.05) as customer:
            for _ in range(25):
                site.database_network.cut()
                time.sleep(0.2)

        customer.assert_untroubled()
        assert_promise(site)


@pytest.mark.pools("prefork")
def test_every_connection_that_the_server_ends_is_made_anew(site: Site) -> None:
    """As an operator does before a maintenance, or a pooler when it is restarted."""
    ends = len(site.supervisor.ends)
    with site.customer(every_seconds=0.05) as customer:
        for _ in range(5):
            customer.wait_for(customer.accepted + 10)
            with psycopg.connect(site.database.url) as connection:
                connection.execute(
                    """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()"""
                )

    assert_answered(customer)
    assert_promise(site)
    assert len(site.supervisor.ends) == ends
