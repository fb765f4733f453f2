"""An order's whole journey, over HTTP, a worker and SMTP, each of them real, on every broker."""

import pytest
import requests

from tests.harness.databases import Database
from tests.harness.service import Service
from tests.harness.shop import Order, Shop
from tests.harness.smtp import Mail, MailServer
from tests.harness.waiting import wait_until


@pytest.fixture(autouse=True)
def _running(service: Service) -> None:
    service.start()


def assert_confirms(mail: Mail, order: Order) -> None:
    """Both parts of the e-mail list each line and the total, as the service answered them."""
    assert mail.recipients == ("demo@example.com",)
    for part in (mail.text, mail.html):
        for item in order["items"]:
            assert item["name"] in part
            assert f"{item['quantity']}" in part
            assert item["line_total"] in part
        assert f"{order['total']} {order['currency']}" in part


def test_an_order_is_confirmed_by_one_email_with_its_lines_and_total(
    shop: Shop, service: Service, database: Database, mail_server: MailServer
) -> None:
    order = shop.order({"BEANS-1KG": 2, "DRIPPER": 1})

    assert_confirms(mail_server.wait_for(order["number"]), order)
    # Nothing is left that could send it again: not in the ledger, not on the broker, and no worker runs.
    wait_until(lambda: database.unfinished() == 0, "the settled message")
    service.stop()
    assert service.depth() == 0
    assert len(mail_server.mails) == 1


def test_the_answer_does_not_wait_for_the_mail(shop: Shop, mail_server: MailServer) -> None:
    mail_server.hold()
    first = shop.order()
    mail_server.wait_until_held()

    second = shop.order()  # answered while the mail server leaves the worker without an answer

    assert mail_server.held
    assert not mail_server.mails
    mail_server.accept()
    for order in (first, second):
        mail_server.wait_for(order["number"])


def test_a_rolled_back_order_takes_no_stock_and_sends_no_email(shop: Shop, mail_server: MailServer) -> None:
    before = shop.stock()

    refused = shop.post_order({"DRIPPER": 1, "BEANS-1KG": before["BEANS-1KG"] + 1})

    assert refused.status_code == requests.codes.bad_request
    assert shop.stock() == before
    accepted = shop.order()
    mail_server.wait_for(accepted["number"])
    assert [mail.subject for mail in mail_server.mails if accepted["number"] not in mail.subject] == []
