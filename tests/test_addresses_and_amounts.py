"""What is an e-mail address, a currency and an amount: the same wherever one enters."""

from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.mail.backends.locmem import EmailBackend
from rest_framework.test import APIClient

from orders.emails import order_confirmation
from orders.models import Product
from orders.values.money import check_price, money
from settings.service import ServiceSettings
from settings.values.addresses import deliverable
from tests.orders_shop import add_product, add_user, client_of, place_order, post_order, tasks_run_at_once
from tests.settings_carrier import problem, service
from tests.test_settings_service import PRODUCTION

GOOD = {
    "ada@example.com": "ada@example.com",
    "kunde@faß.de": "kunde@xn--fa-hia.de",
    "kunde@BÜCHER.example": "kunde@xn--bcher-kva.example",
    "a.b+c@sub.example.co": "a.b+c@sub.example.co",
    "ops@localhost": "ops@localhost",
}

BAD = [
    "", "me", "@example.com", "ada@", "ada@ex\u200fample.com", "ada@a_b.example", "ada@-a.example", "ada@a..b",
    "ädä@example.com", "a b@example.com", "a..b@example.com", "ada@example", "ada@192.0.2.1", "ada@[192.0.2.1]",
    "ada@example.com, eve@example.com", "ada@example.com\nBcc: eve@example.com", "Ops <ops@example.com>",
    "x" * 65 + "@example.com", "ada@" + "x" * 64 + ".com",
]  # fmt: skip


@pytest.mark.parametrize(("text", "address"), GOOD.items())
def test_an_address_is_given_to_mail_servers_in_ascii_by_idna_2008(text: str, address: str) -> None:
    assert deliverable(text) == address
    assert deliverable(address) == address


@pytest.mark.parametrize("text", BAD)
def test_what_cannot_be_delivered_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"write name@example\.com"):
        deliverable(text)


@pytest.mark.parametrize("text", BAD[1:])
def test_a_setting_is_an_address_as_a_customers_is(text: str) -> None:
    assert "write name@example.com" in problem(ServiceSettings, ORDERS_REPORT_EMAIL=text)


def test_a_sender_may_have_a_name_and_production_needs_one_of_its_own() -> None:
    named = "The shop <shop@example.com>"
    assert service(DEFAULT_FROM_EMAIL=named).default_from_email == named
    assert "DEFAULT_FROM_EMAIL" in problem(ServiceSettings, DEFAULT_FROM_EMAIL="The shop <shop@a..b>")
    mail = {**PRODUCTION, "EMAIL_URL": "smtp://mail.example.com"}
    assert "nobody's address" in problem(ServiceSettings, **mail)
    assert "nobody's address" in problem(ServiceSettings, **mail, DEFAULT_FROM_EMAIL="Shop <shop@localhost>")
    assert service(**mail, DEFAULT_FROM_EMAIL=named).default_from_email == named


@pytest.mark.django_db
def test_an_email_goes_to_the_domain_that_the_customer_wrote(mailoutbox: Any) -> None:
    add_product()
    order = place_order(add_user(email="kunde@faß.de"))
    message = order_confirmation(order, order.items.all(), to="kunde@faß.de")
    EmailBackend().send_messages([message])
    assert message.recipients() == ["kunde@xn--fa-hia.de"]
    with pytest.raises(ValidationError):
        order_confirmation(order, order.items.all(), to="kunde@ex\u200fample.com")


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["kunde@ex\u200fample.com", "ädä@example.com", "ada@example"])
def test_an_order_that_could_not_be_confirmed_is_refused(address: str) -> None:
    add_product()
    with tasks_run_at_once():
        assert post_order(client_of(add_user(email=address)), {"MUG": 1}).status_code == 400


# --- amounts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def staff(db: None) -> APIClient:
    return client_of(add_user("boss", is_staff=True))


@pytest.mark.parametrize(
    ("price", "currency"), [("1500", "JPY"), ("1500.00", "JPY"), ("19.99", "EUR"), ("1.25", "KWD"), ("0.00", "EUR")]
)
def test_a_price_has_the_decimals_of_its_currency(staff: APIClient, price: str, currency: str) -> None:
    product = {"sku": "NEW", "name": "New", "price": price, "currency": currency}
    assert staff.post("/products/", product, format="json").status_code == 201


@pytest.mark.parametrize(
    ("price", "currency", "pointer"),
    [
        ("1500.50", "JPY", "#/price"),
        ("1.50", "KRW", "#/price"),
        ("1.00", "ABC", "#/currency"),
        ("1.00", "XAU", "#/currency"),
        ("1.00", "XXX", "#/currency"),
        *((amount, "EUR", "#/price") for amount in ("1_0", "-0.00", "+1", "1e1", " 1", "1.", ".5", "\u0661", "NaN")),
    ],
)
def test_what_nobody_could_pay_is_refused(staff: APIClient, price: str, currency: str, pointer: str) -> None:
    product = {"sku": "NEW", "name": "New", "price": price, "currency": currency}
    answer = staff.post("/products/", product, format="json")
    assert answer.status_code == 400
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


def test_a_change_of_either_is_checked_with_the_other(staff: APIClient) -> None:
    add_product(price="16.50")
    for change in ({"currency": "JPY"}, {"currency": "ABC"}):
        assert staff.patch("/products/MUG/", change, format="json").status_code == 400
    assert staff.patch("/products/MUG/", {"currency": "JPY", "price": "1600"}, format="json").status_code == 200
    assert staff.patch("/products/MUG/", {"price": "1600.50"}, format="json").status_code == 400
    Product.objects.update(price="1600.50")
    assert staff.patch("/products/MUG/", {"name": "Of old"}, format="json").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("amount", ["1_0", "-0.00", "1e3", "\u0661"])
def test_a_filter_takes_plain_amounts_too(amount: str) -> None:
    assert APIClient().get("/products/", {"price_min": amount}).status_code == 400


def test_amounts_are_shown_with_the_decimals_of_their_currency() -> None:
    assert money(Decimal("1234.5"), "EUR") == "1,234.50 EUR"
    assert money(Decimal("1500.00"), "JPY") == "1,500 JPY"
    assert money(Decimal("1500.50"), "JPY") == "1,500.50 JPY"
    with pytest.raises(ValidationError):
        check_price(Decimal("0.5"), "JPY")
