"""What a project adds to the console, and what is left of the console when that fails."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from pytest_django import Settings

from console import views
from console.live import Live
from tests.outbox_rows import die

pytestmark = pytest.mark.django_db

ORDERS = "app.panels.LatestOrders"


class Broken:
    name, title, template = "broken", "Broken", "app/latest_orders.html"

    def context(self, time: object) -> dict[str, Any]:
        raise ZeroDivisionError("the password is hunter2")


class Unmakeable(Broken):
    def __init__(self) -> None:
        raise ZeroDivisionError("the password is hunter2")


class Nameless:
    title, template = "Nameless", "app/latest_orders.html"

    def context(self, time: object) -> dict[str, Any]:
        return {}


class WithoutTemplate(Nameless):
    name, template = "bare", "hunter2.html"


class Misspelt(Nameless):
    """Asks the database for what it does not have."""

    name = "misspelt"

    def context(self, time: object) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT hunter2")
        return {}


@pytest.fixture
def boss(monkeypatch: pytest.MonkeyPatch) -> Client:
    """Someone who may see the console, in a process that has remembered nothing yet."""
    monkeypatch.setattr(views, "LIVE", Live())
    client = Client(headers={"Accept": "text/html"})
    client.force_login(User.objects.create_superuser("boss"))
    return client


def page(client: Client, address: str = "/console/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize(
    ("panel", "error"),
    [
        (f"{__name__}.Broken", "ZeroDivisionError"),
        (f"{__name__}.Unmakeable", "ZeroDivisionError"),
        (f"{__name__}.Nameless", "AttributeError"),
        (f"{__name__}.WithoutTemplate", "TemplateDoesNotExist"),
        (f"{__name__}.Absent", "ImportError"),
        ("nowhere.Panel", "ModuleNotFoundError"),
        ("nowhere", "ImportError"),
    ],
)
def test_a_panel_that_fails_says_so_and_the_page_shows_the_rest(
    boss: Client, settings: Settings, caplog: pytest.LogCaptureFixture, panel: str, error: str
) -> None:
    settings.CONSOLE_PANELS = [panel, ORDERS]
    dead = die()
    shown = page(boss)
    assert re.search(rf"This panel failed \({error}\)", shown)
    assert "hunter2" not in shown
    assert "No order has been placed yet" in shown
    assert str(dead) in shown
    assert panel in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("address", ["/console/", "/console/updates/"])
def test_a_statement_of_a_panel_that_fails_fails_no_other(boss: Client, settings: Settings, address: str) -> None:
    assert connection.settings_dict["ATOMIC_REQUESTS"]
    settings.CONSOLE_PANELS = [f"{__name__}.Misspelt", ORDERS]
    dead = die()
    shown = page(boss, address)
    assert re.search(r"This panel failed \((OperationalError|ProgrammingError)\)", shown)
    assert "hunter2" not in shown
    assert str(dead) in shown


def test_a_panel_that_fails_once_is_back_the_next_time(
    boss: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CONSOLE_PANELS = [f"{__name__}.Unmakeable"]
    assert "This panel failed" in page(boss)
    monkeypatch.delattr(Unmakeable, "__init__")
    monkeypatch.setattr(Unmakeable, "context", lambda self, time: {"orders": []})
    views.LIVE.forget()
    assert "No order has been placed yet" in page(boss)


def test_a_link_leads_to_the_section_of_a_panel(boss: Client, settings: Settings) -> None:
    assert settings.CONSOLE_PANELS == [ORDERS]
    assert '<h2 id="orders-title">Latest orders</h2>' in page(boss)
    views.LIVE.forget()
    assert page(boss).count(' id="orders"') == 1


def test_a_console_without_panels_has_all_its_own_sections(boss: Client, settings: Settings) -> None:
    del settings.CONSOLE_PANELS
    shown = page(boss)
    for id in ("headline", "pipeline", "charts", "broker", "processes", "dead-letters"):
        assert f'id="{id}"' in shown, id
    assert "Latest orders" not in shown
