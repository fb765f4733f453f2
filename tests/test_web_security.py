"""What browsers are told about this site, and who gets into the back office."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, override_settings

from app.first_run.processes import find_free_port
from settings import PROJECT_ROOT
from tests.harness.databases import Database
from tests.harness.environment import child_environment
from tests.orders_shop import add_product, add_user, place_order
from tests.test_settings_service import PRODUCTION

BROWSER = {"accept": "text/html,*/*;q=0.8"}


def production(tmp_path: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the settings of production; the database is an empty SQLite file."""
    variables = {"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3", **PRODUCTION, **variables}
    return subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT_ROOT,
        env=child_environment(tmp_path, **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_djangos_own_check_finds_nothing_to_say_about_production(tmp_path: Path) -> None:
    services = {
        "DATABASE_URL": "postgresql://orders@db.example.com/orders",
        "EMAIL_URL": "smtp+tls://mail.example.com",
        "DEFAULT_FROM_EMAIL": "orders@example.com",
    }
    done = production(tmp_path, "manage.py", "check", "--deploy", "--fail-level", "WARNING", **services)
    assert done.returncode == 0, done.stderr


ASK = """
from django.test import Client
import app.wsgi
from django.conf import settings
for secure in (False, True):
    answer = Client(headers={"host": "orders.example.com"}).get("/nowhere/", secure=secure)
    print(answer.status_code, answer.get("Location"), answer.get("Strict-Transport-Security"))
print(settings.SESSION_COOKIE_SECURE, settings.SESSION_COOKIE_HTTPONLY, settings.CSRF_COOKIE_SECURE)
"""


def test_production_speaks_https_only(tmp_path: Path) -> None:
    done = production(tmp_path, "-c", ASK)
    assert done.stdout.splitlines() == [
        "301 https://orders.example.com/nowhere/ None",
        "404 None max-age=31536000",
        "True True True",
    ], done.stderr


def test_production_behind_a_proxy_that_ends_tls_may_leave_the_redirect_to_it(tmp_path: Path) -> None:
    done = production(tmp_path, "-c", ASK, API_HTTPS_REDIRECT="false", API_HSTS_SECONDS="0")
    assert done.stdout.splitlines()[:2] == ["404 None None", "404 None None"], done.stderr


def assert_keeps_to_the_policy(page: Any) -> None:
    """A browser that heeds the page's policy must find all its scripts at this site, and none in its text."""
    assert page.status_code == 200
    assert "default-src 'self'" in page["Content-Security-Policy"]
    for attributes, text in re.findall(r"<script\b([^>]*)>(.*?)</script>", page.content.decode(), re.DOTALL):
        if "application/json" not in attributes:
            assert 'src="/' in attributes
            assert not text.strip()
    assert not re.search(r"<[^>]+ on[a-z]+=", page.content.decode())


@pytest.mark.django_db
def test_the_pages_keep_to_the_content_security_policy() -> None:
    add_product()
    boss = add_user("boss", is_staff=True, is_superuser=True)
    order = place_order(boss)
    client = Client(headers=BROWSER)
    assert_keeps_to_the_policy(client.get("/auth/login/"))
    client.force_login(boss)
    pages = ["/orders/", f"/orders/{order.order_id}/", "/products/"]
    pages += [
        "/admin/",
        "/admin/orders/order/",
        f"/admin/orders/order/{order.pk}/change/",
        "/admin/orders/product/add/",
    ]
    for url in pages:
        assert_keeps_to_the_policy(client.get(url))


@pytest.mark.django_db
def test_one_can_log_out_of_the_browsable_pages() -> None:
    client = Client(headers=BROWSER)
    client.force_login(add_user())
    assert b'action="/auth/logout/?next=/orders/"' in client.get("/orders/").content
    assert client.post("/auth/logout/?next=/orders/")["Location"] == "/orders/"
    assert client.get("/orders/").status_code == 401


@pytest.mark.django_db
@pytest.mark.parametrize("url", ["/products/", "/nowhere/", "/auth/login/"])
def test_every_answer_has_the_security_headers(url: str) -> None:
    answer = Client().get(url)
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]


@pytest.mark.django_db
def test_scripts_of_other_sites_are_kept_out_unless_their_origin_is_listed() -> None:
    def allowed(origin: str) -> str | None:
        return Client().get("/products/", headers={"origin": origin}).get("Access-Control-Allow-Origin")

    assert settings.CORS_ALLOWED_ORIGINS == []
    assert allowed("https://shop.example.com") is None
    with override_settings(CORS_ALLOWED_ORIGINS=["https://shop.example.com"]):
        assert allowed("https://shop.example.com") == "https://shop.example.com"
        assert allowed("https://evil.example") is None


@pytest.mark.django_db
@pytest.mark.parametrize("url", ["/admin/", "/admin/orders/order/", "/admin/orders/product/add/", "/admin/auth/user/"])
def test_the_back_office_is_for_staff(url: str) -> None:
    client = Client(headers=BROWSER)
    assert client.get(url)["Location"].startswith("/admin/login/")
    client.force_login(add_user())
    assert client.get(url)["Location"].startswith("/admin/login/")


@pytest.mark.databases("sqlite")
def test_production_names_trial_users_when_it_starts_and_when_it_is_examined(
    database: Database, tmp_path: Path
) -> None:
    variables = {"DATABASE_URL": database.url}
    checked = production(tmp_path, "manage.py", "check", "--deploy", **variables)
    assert "The user 'admin' has a password that everybody knows" in checked.stderr
    server = subprocess.Popen(
        ["gunicorn", "app.wsgi"],
        cwd=PROJECT_ROOT,
        env=child_environment(tmp_path, **PRODUCTION, WEB_BIND=f"127.0.0.1:{find_free_port()}", **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert server.stdout is not None
    said = []
    for line in server.stdout:
        said.append(line)
        if "Booting worker" in line:
            break
    server.terminate()
    server.communicate(timeout=30)
    assert sum("everybody knows" in line for line in said) == 2, said
