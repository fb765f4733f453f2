"""The console in a browser, against the real service with a real worker."""

import re
from collections.abc import Callable
from itertools import product
from typing import Literal

import pytest
from playwright.sync_api import StorageState, expect

from tests.browser.visitor import Visitor
from tests.harness.service import Service, ServiceProcess
from tests.harness.shop import Shop
from tests.harness.smtp import MailServer

# Together, because they share a service.
pytestmark = pytest.mark.xdist_group("console")

Visit = Callable[..., Visitor]

REFUSAL = "550 5.1.1 no such mailbox"


@pytest.fixture
def shop(service: Service) -> Shop:
    return service.shop


def process_of(service: Service, name: str) -> ServiceProcess:
    return next(process for process in service.processes if process.name == name)


def assert_sound(visitor: Visitor) -> None:
    """No script failed, and nothing came from elsewhere."""
    host = re.escape(visitor.page.url.partition("/console")[0])
    assert visitor.errors == []
    assert [address for address in visitor.addresses if not re.match(f"{host}/|data:", address)] == []


def assert_usable(visitor: Visitor) -> None:
    """Neither theme nor width gives axe reason to complain, and nothing is wider than the window."""
    themes: list[Literal["light", "dark"]] = ["light", "dark"]
    for width, theme in product((1200, 390), themes):
        visitor.page.set_viewport_size({"width": width, "height": 800})
        visitor.page.emulate_media(color_scheme=theme)
        assert visitor.grave_faults() == [], f"{theme}, {width} pixels wide"
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_order_is_seen_on_its_whole_way(staff: Visitor, shop: Shop, mail_server: MailServer) -> None:
    staff.says("#headline", "Everything is well")
    mail_server.hold()
    order = shop.order()
    row = staff.order(order["number"])
    expect(row).to_contain_text("running")
    expect(staff.stage("Running")).to_have_text("1")
    staff.says("#processes", "send_order_confirmation_email")

    mail_server.accept()

    expect(row).to_contain_text("sent")
    expect(staff.stage("Running")).to_have_text("0")
    staff.says("#throughput", re.compile("[1-9][0-9]* done and"))
    assert_sound(staff)


def test_a_dead_letter_is_replayed_from_the_page(
    staff: Visitor, shop: Shop, service: Service, mail_server: MailServer
) -> None:
    mail_server.refuse(REFUSAL)
    order = shop.order()
    expect(staff.stage("Dead")).to_have_text("1")
    staff.says("#dead-letters", "550")
    letter = staff.page.locator(".letter")
    letter.get_by_text("Traceback").click()
    expect(letter.locator("pre")).to_be_visible()
    message_id = letter.get_by_role("button").get_attribute("value") or ""
    # Several updates later what was opened is still open, and what had the focus still has it.
    letter.get_by_role("button", name="Replay").focus()
    seen = staff.page.locator("time").inner_text()
    expect(staff.page.locator("time")).not_to_have_text(seen)
    expect(letter.locator("pre")).to_be_visible()
    expect(letter.get_by_role("button", name="Replay")).to_be_focused()
    mail_server.accept()

    staff.page.keyboard.press("Enter")

    staff.says(".notice", "Replayed")
    expect(staff.stage("Dead")).to_have_text("0")
    expect(staff.order(order["number"])).to_contain_text("sent")
    mail_server.wait_for(order["number"])
    assert "replayed by admin (console)" in service.manage("outbox", "show", message_id)
    assert_sound(staff)


def test_customers_cannot_log_in(visit: Visit) -> None:
    visitor = visit()
    visitor.page.goto("/console/")
    visitor.log_in("demo", "demo")
    visitor.says("body", "for a staff account")
    visitor.page.goto("/console/")
    assert "/admin/login/" in visitor.page.url


def test_a_page_that_gets_no_answer_says_so(staff: Visitor, service: Service) -> None:
    web = process_of(service, "web")
    for harm, heal in ((web.freeze, web.thaw), (web.stop, web.start)):
        harm()
        staff.says("#stale", "The server does not answer. What you see is of")
        heal()
        expect(staff.page.locator("#stale")).to_be_hidden()


def test_a_page_of_someone_who_was_logged_out_says_so(staff: Visitor) -> None:
    staff.page.context.clear_cookies()
    staff.says("#stale", "You are no longer logged in")
    staff.page.get_by_role("link", name="Log in").click()
    expect(staff.page).to_have_url(re.compile("/admin/login/"))


def test_a_process_without_a_heartbeat_is_named(staff: Visitor, service: Service) -> None:
    worker = process_of(service, "worker")
    worker.kill()
    staff.says("#alerts", "No worker is alive, so nothing is run. Start one: celery -A app worker")
    staff.says("#processes", "silent for")
    worker.start()
    worker.wait_until_ready()
    expect(staff.page.locator("#alerts")).not_to_contain_text("No worker is alive")


def test_without_javascript_everything_works_but_the_updates(
    visit: Visit, logged_in: StorageState, shop: Shop, mail_server: MailServer
) -> None:
    mail_server.refuse(REFUSAL)
    visitor = visit(java_script_enabled=False, storage_state=logged_in)
    visitor.page.goto("/console/")
    order = shop.order()
    while not visitor.page.get_by_role("button", name="Replay").count():
        visitor.page.get_by_role("link", name="Look again").click()
    mail_server.accept()
    visitor.page.get_by_role("button", name="Replay").click()
    visitor.says(".notice", "Replayed")
    mail_server.wait_for(order["number"])
    visitor.page.get_by_role("link", name="Back office").click()
    visitor.says("#content", "Site administration")


def test_nobody_is_kept_from_using_it(staff: Visitor, shop: Shop, mail_server: MailServer) -> None:
    mail_server.refuse(REFUSAL)
    shop.order()
    expect(staff.page.get_by_role("button", name="Replay")).to_be_visible()
    staff.page.locator(".letter").get_by_text("Traceback").click()
    staff.page.locator("#findings summary").click()
    assert_usable(staff)
    staff.page.goto("/")
    assert_usable(staff)
    mail_server.accept()
    staff.page.goto("/console/")
    staff.page.get_by_role("button", name="Replay").click()


def test_it_is_used_with_the_keyboard_alone(staff: Visitor) -> None:
    staff.page.reload()
    staff.page.keyboard.press("Tab")
    expect(staff.page.get_by_text("Skip to content")).to_be_focused()
    staff.page.keyboard.press("Enter")
    assert staff.page.url.endswith("#main")
    staff.page.keyboard.press("Tab")
    focused = staff.page.evaluate("document.activeElement.closest('main') !== null")
    assert focused


def test_a_panel_of_the_shop_is_as_wide_as_the_page(staff: Visitor) -> None:
    staff.page.set_viewport_size({"width": 1200, "height": 800})
    widths = [staff.page.locator(place).evaluate("each => each.offsetWidth") for place in ("#orders", "#dead-letters")]
    assert widths[0] == widths[1]
