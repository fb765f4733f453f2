"""The e-mails, as a mail client gets them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as rfc_policy
from html.parser import HTMLParser
from uuid import UUID, uuid4

import pytest
from django.core import mail
from django.core.exceptions import ValidationError
from django.core.mail import BadHeaderError, EmailMultiAlternatives
from django.utils import timezone
from kombu.utils import json
from pytest_django import Settings

from orders.emails import daily_summary, order_cancellation, order_confirmation
from orders.models import Order
from orders.tasks import send_daily_summary, send_order_cancellation_email, send_order_confirmation_email
from orders.values.money import money
from tests.orders_shop import add_product, add_user, client_of, place_order, post_order, tasks_run_at_once
from tests.worker import run_due_tasks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def shop_name(settings: Settings) -> None:
    settings.SITE_NAME = "The Shop"
    settings.DEFAULT_FROM_EMAIL = "The Shop <orders@shop.example>"


def received(position: int = 0) -> tuple[EmailMessage, str, str]:
    """Return the e-mail that was sent, parsed anew from its bytes, with its text and its HTML."""
    sent = BytesParser(policy=rfc_policy).parsebytes(mail.outbox[position].message().as_bytes())
    assert isinstance(sent, EmailMessage)
    text, html = sent.get_body(("plain",)), sent.get_body(("html",))
    assert text
    assert html
    return sent, text.get_content(), html.get_content()


def confirmation_of(order: Order, **options: str) -> EmailMultiAlternatives:
    return order_confirmation(order, order.items.all(), **options)


def html_of(message: EmailMultiAlternatives) -> str:
    ((html, kind),) = message.alternatives
    assert kind == "text/html"
    return str(html)


class VisibleText(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.hidden = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden = tag in ("style", "title")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.words += data.split()

    def __str__(self) -> str:
        return " ".join(self.words)


def test_a_posted_order_is_confirmed_to_its_customer() -> None:
    add_product("MUG", price="16.00", name="Mug, blue")
    add_product("BEANS", price="1249.50", name="Coffee beans")
    with tasks_run_at_once():
        answer = post_order(client_of(add_user(first_name="Ada")), {"MUG": 2, "BEANS": 1}, note="Ring twice.")
    sent, text, html = received()
    number = answer.json()["number"]
    assert len(mail.outbox) == 1
    assert sent["To"] == "ada@example.com"
    assert sent["From"] == "The Shop <orders@shop.example>"
    assert sent["Subject"] == f"Your order {number} at The Shop"
    for content in (text, str(VisibleText(html))):
        for part in ("Ada", number, "Mug, blue", "MUG", "16.00 EUR", "32.00 EUR", "Coffee beans", "1,249.50 EUR",
                     "1,281.50 EUR", "Ring twice.", "The Shop"):  # fmt: skip
            assert part in content


def test_the_text_reads_well() -> None:
    add_product("MUG", price="16.00", name="Mug, blue")
    add_product("BEANS", price="24.90", name="Beans & more")
    order = place_order(add_user(first_name="Ada"), {"MUG": 2, "BEANS": 1}, note="It's <urgent>.")
    order.created_at = datetime(2026, 11, 22, 14, 5, tzinfo=UTC)
    times = "\N{MULTIPLICATION SIGN}"
    assert confirmation_of(order, to="ada@example.com").body == (
        f"Hello Ada,\n\nthank you for your order {order.number} of 22 November 2026, 14:05 UTC.\n\n"
        f"2 {times} Mug, blue (MUG)\n    16.00 EUR each, 32.00 EUR\n\n"
        f"1 {times} Beans & more (BEANS)\n    24.90 EUR each, 24.90 EUR\n\n"
        "Total: 56.90 EUR\n\nYour note:\nIt's <urgent>.\n\n"
        f"If you have a question, please quote the order number {order.number}.\n\nThe Shop\n"
    )


@pytest.mark.parametrize("by_staff", [False, True])
def test_a_cancellation_reads_well(by_staff: bool) -> None:
    add_product("MUG", price="16.00", name="Mug, blue")
    ada = add_user(first_name="Ada")
    order = place_order(ada, {"MUG": 2})
    order.cancel(by=add_user("boss", is_staff=True) if by_staff else ada, reason="It's <gone>.")
    order.created_at = datetime(2026, 11, 22, 14, 5, tzinfo=UTC)
    message = order_cancellation(order, to=ada.email)
    who = "we have had to cancel" if by_staff else "as you asked, we have cancelled"
    times = "\N{MULTIPLICATION SIGN}"
    assert message.subject == f"Your order {order.number} is cancelled: The Shop"
    assert message.body == (
        f"Hello Ada,\n\n{who} your order {order.number} of 22 November 2026, 14:05 UTC.\n"
        "Nothing of it will be delivered.\n\nReason:\nIt's <gone>.\n\n"
        f"2 {times} Mug, blue (MUG)\n    16.00 EUR each, 32.00 EUR\n\nTotal: 32.00 EUR\n\n"
        f"If this is not what you expected, please write to us and quote the order number {order.number}.\n\n"
        "The Shop\n"
    )
    html = html_of(message)
    assert "It&#x27;s &lt;gone&gt;." in html
    for part in ("Ada", who, order.number, "Mug, blue", "32.00 EUR", "The Shop"):
        assert part in str(VisibleText(html))


def test_the_html_escapes_what_people_typed() -> None:
    add_product("MUG", name="<img src=x onerror=alert(1)>")
    user = add_user(first_name="<b>Ada</b>")
    html = html_of(confirmation_of(place_order(user, note="<script>\nEve & co"), to=user.email))
    assert "<img" not in html
    assert "<b>" not in html
    assert "<script>" not in html
    assert "&lt;script&gt;<br>Eve &amp; co" in html


def test_the_html_fetches_nothing_and_knows_dark_mode() -> None:
    add_product()
    html = html_of(confirmation_of(place_order(add_user()), to="ada@example.com"))
    assert "http" not in html
    assert "src=" not in html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert "@media (prefers-color-scheme: dark)" in html


@pytest.mark.parametrize(
    "address",
    [
        "a@example.com\nBcc: b@example.com",
        "a@example.com\r\n\r\nBody",
        "a@example.com, b@example.com",
        "Ada <a@example.com>",
        "",
    ],
)
def test_an_address_can_bring_in_neither_a_header_nor_a_second_recipient(address: str) -> None:
    add_product()
    order = place_order(add_user())
    with pytest.raises(ValidationError):
        send_order_confirmation_email(order.order_id, address)
    order.cancel(by=order.user)
    with pytest.raises(ValidationError):
        send_order_cancellation_email(order.order_id, address)
    assert not mail.outbox


def test_a_line_break_in_the_shops_name_cannot_bring_in_a_header(settings: Settings) -> None:
    settings.SITE_NAME = "The Shop\nBcc: b@example.com"
    add_product()
    with pytest.raises(BadHeaderError):
        send_order_confirmation_email(place_order(add_user()).order_id, "ada@example.com")


def test_names_and_reasons_do_not_reach_a_header() -> None:
    add_product(name="Mug\nBcc: b@example.com")
    user = add_user(first_name="Ada\nBcc: b@example.com")
    order = place_order(user, note="x\nBcc: b@example.com")
    confirmation_of(order, to=user.email).send()
    order.cancel(by=user, reason="x\nBcc: b@example.com")
    order_cancellation(order, to=user.email).send()
    for n in range(2):
        sent, _, _ = received(n)
        assert "Bcc" not in sent
        assert mail.outbox[n].recipients() == ["ada@example.com"]


def test_the_same_task_sends_the_same_message_id_and_another_task_another() -> None:
    add_product()
    order = place_order(add_user())
    for task_id in ("1", "1", "2"):
        confirmation_of(order, to="ada@example.com", task_id=task_id).send()
    ids = [received(n)[0]["Message-ID"] for n in range(3)]
    assert ids == ["<1@shop.example>", "<1@shop.example>", "<2@shop.example>"]


def test_the_task_gives_the_e_mail_its_own_id() -> None:
    add_product()
    task_id = str(uuid4())
    arguments = (place_order(add_user()).order_id, "ada@example.com")
    send_order_confirmation_email.apply(arguments, task_id=task_id, throw=True)
    assert received()[0]["Message-ID"] == f"<{task_id}@shop.example>"


def test_automatic_responders_are_asked_to_stay_silent() -> None:
    add_product()
    send_order_confirmation_email(place_order(add_user()).order_id, "ada@example.com")
    sent, _, _ = received()
    assert sent["Auto-Submitted"] == "auto-generated"


def test_the_tasks_arguments_survive_the_trip() -> None:
    add_product()
    order = place_order(add_user())
    order_id, address = json.loads(json.dumps([order.order_id, order.user.email]))
    send_order_confirmation_email(order_id, address)
    assert len(mail.outbox) == 1


def test_an_order_that_does_not_exist_is_an_error_and_no_e_mail() -> None:
    with pytest.raises(Order.DoesNotExist):
        send_order_confirmation_email(UUID(int=0), "ada@example.com")
    assert not mail.outbox


def place_at(moment: datetime, quantities: dict[str, int]) -> Order:
    order = place_order(add_user(f"customer{Order.objects.count()}"), quantities)
    Order.objects.filter(pk=order.pk).update(created_at=moment)
    return order


def test_the_daily_summary_counts_one_local_day_in_each_currency() -> None:
    add_product("MUG", price="16.00")
    add_product("VOUCHER", price="25.00", currency="USD")
    # Berlin's 29 March 2026 has 23 hours: 28 March 23:00 to 29 March 22:00 UTC.
    place_at(datetime(2026, 3, 28, 22, 59, 59, tzinfo=UTC), {"MUG": 1})
    place_at(datetime(2026, 3, 28, 23, 0, 0, tzinfo=UTC), {"MUG": 1})
    place_at(datetime(2026, 3, 29, 21, 59, 59, tzinfo=UTC), {"MUG": 2})
    place_at(datetime(2026, 3, 29, 12, 0, 0, tzinfo=UTC), {"VOUCHER": 1})
    place_at(datetime(2026, 3, 29, 22, 0, 0, tzinfo=UTC), {"MUG": 1})
    cancelled = place_at(datetime(2026, 3, 29, 13, 0, 0, tzinfo=UTC), {"MUG": 1})
    Order.objects.filter(pk=cancelled.pk).update(status=Order.Status.CANCELLED)
    with timezone.override("Europe/Berlin"):
        orders = Order.objects.placed_on(date(2026, 3, 29))
        assert orders.count() == 3
        assert orders.totals() == {"EUR": Decimal("48.00"), "USD": Decimal("25.00")}
        daily_summary(date(2026, 3, 29), orders, to="boss@shop.example").send()
    sent, text, html = received()
    assert sent["Subject"] == "Orders of 2026-03-29 at The Shop"
    assert text == (
        "3 orders on Sunday, 29 March 2026 (Europe/Berlin), cancelled ones left out.\n\n"
        "Total: 48.00 EUR\nTotal: 25.00 USD\n\nThe Shop\n"
    )
    for part in ("3 orders", "29 March 2026", "48.00 EUR", "25.00 USD"):
        assert part in str(VisibleText(html))


def test_the_summary_is_of_yesterday_and_goes_to_the_report_address(settings: Settings) -> None:
    settings.ORDERS_REPORT_EMAIL = "boss@shop.example"
    add_product("MUG", price="16.00")
    today = timezone.localtime().replace(hour=12)
    place_at(today, {"MUG": 1})
    place_at(today - timedelta(days=1), {"MUG": 2})
    send_daily_summary()
    sent, text, _ = received()
    assert sent["To"] == "boss@shop.example"
    assert text.startswith("1 order on ")
    assert "Total: 32.00 EUR" in text


def test_a_summary_that_could_not_be_sent_before_midnight_is_of_the_day_it_was_due_for(settings: Settings) -> None:
    settings.ORDERS_REPORT_EMAIL = "boss@shop.example"
    send_daily_summary.apply_async(headers={"scheduled_for": "2026-11-20T06:00:00+00:00"})
    assert run_due_tasks() == ["SUCCESS"]
    sent, _, _ = received()
    assert sent["Subject"] == "Orders of 2026-11-19 at The Shop"


def test_a_day_without_orders_is_reported_too(settings: Settings) -> None:
    settings.ORDERS_REPORT_EMAIL = "boss@shop.example"
    send_daily_summary()
    _, text, _ = received()
    assert text.startswith("0 orders on ")


@pytest.mark.parametrize("unset", [None, ""])
def test_without_a_report_address_there_is_no_summary(settings: Settings, unset: str | None) -> None:
    settings.ORDERS_REPORT_EMAIL = unset
    send_daily_summary()
    assert not mail.outbox


def test_money_shows_cents_and_currency() -> None:
    assert money(Decimal("1234567.5"), "EUR") == "1,234,567.50 EUR"
    assert money(Decimal(0), "JPY") == "0 JPY"
