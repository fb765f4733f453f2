"""SCRIPT_NAME: the service below a path of a site, as `/shop`."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from settings.service import ServiceSettings
from tests.harness.databases import Database
from tests.settings_carrier import problem, service
from tests.test_web_slow_clients import Web, served

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def web(database: Database, tmp_path: Path) -> Iterator[Web]:
    with served(database, tmp_path, SCRIPT_NAME="/shop") as web:
        yield web


def test_pages_their_styles_and_health_are_found(web: Web) -> None:
    # With the path, and without it, as a proxy that takes it off would ask.
    for prefix in ("/shop", ""):
        for path in ("/health/live", "/health/ready", "/", "/products/"):
            answer = requests.get(f"{web.url}{prefix}{path}", timeout=20)
            assert answer.status_code == 200, f"{prefix}{path}"
    page = requests.get(f"{web.url}/shop/admin/login/", timeout=20).text
    styles = re.findall(r'href="([^"]+\.css)"', page)
    assert styles
    for style in styles:
        assert style.startswith("/shop/static/")
        assert requests.get(f"{web.url}{style}", timeout=20).status_code == 200


def test_addresses_in_answers_and_redirects_have_the_path(web: Web) -> None:
    to_login = requests.get(
        f"{web.url}/shop/admin/", headers={"Accept": "text/html"}, allow_redirects=False, timeout=20
    )
    assert to_login.headers["Location"].startswith("/shop/admin/login/")
    slash = requests.get(f"{web.url}/shop/products", allow_redirects=False, timeout=20)
    assert slash.headers["Location"] == "/shop/products/"
    page = requests.get(f"{web.url}/shop/products/?page_size=1", timeout=20).json()
    assert "/shop/products/?" in page["next"]


def test_a_login_below_the_path_is_counted_as_one(database: Database, tmp_path: Path) -> None:
    with served(database, tmp_path, SCRIPT_NAME="/shop", API_LOGINS_PER_MINUTE="1") as web:
        wrong = {"username": "demo", "password": "wrong"}
        tries = [requests.post(f"{web.url}/shop/auth/jwt/", json=wrong, timeout=20).status_code for _ in range(2)]
    assert tries == [401, 429]


@pytest.mark.parametrize("value", ["shop", "http://x/shop", "/a b", "//"])
def test_what_is_no_path_is_refused(value: str) -> None:
    assert "is not a path" in problem(ServiceSettings, SCRIPT_NAME=value)
    assert service(SCRIPT_NAME="/shop/").script_name == "/shop"
