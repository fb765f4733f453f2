"""The OpenAPI description is valid, complete and current, and its page needs nothing from elsewhere."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client

from settings import PROJECT_ROOT
from tests.test_web_security import BROWSER, assert_keeps_to_the_policy

COMMITTED = PROJECT_ROOT / "docs" / "openapi.yaml"


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    paths = yaml.safe_load(COMMITTED.read_text())["paths"]
    return [(path, method, operation) for path, methods in paths.items() for method, operation in methods.items()]


def test_the_committed_description_is_current(tmp_path: Path) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "openapi.yaml"))
    assert COMMITTED.read_text() == (tmp_path / "openapi.yaml").read_text(), "run: make docs"


def test_every_operation_documents_its_errors_in_the_one_shape() -> None:
    for path, method, operation in operations():
        problems = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"400", "401", "429", "503"} <= set(problems), f"{method} {path}"
        for answer in problems.values():
            assert list(answer["content"]) == ["application/problem+json"]


def test_every_operation_has_a_summary_and_those_of_the_shop_say_who_may() -> None:
    for path, method, operation in operations():
        assert operation["summary"], f"{method} {path}"
        if not path.startswith("/auth/"):
            assert {"jwtAuth": []} in operation["security"]


@pytest.mark.django_db
def test_the_page_works_without_the_internet_and_keeps_to_the_policy() -> None:
    page = Client(headers=BROWSER).get("/docs/")
    assert_keeps_to_the_policy(page)
    assets = re.findall(r'(?:src|href)="/static/([^"]+)"', page.content.decode())
    assert len(assets) >= 3
    assert all(finders.find(asset) for asset in assets)
    assert "//" not in re.sub(r"<!--.*?-->", "", " ".join(re.findall(r'(?:src|href)="([^"]+)"', page.content.decode())))
    script = Client().get("/docs/?script=")
    assert script.status_code == 200
    assert b"/schema/" in script.content


@pytest.mark.django_db
def test_the_service_serves_its_description() -> None:
    assert Client().get("/schema/", headers={"accept": "application/json"}).json()["openapi"].startswith("3.")
    assert b"openapi: 3." in Client().get("/schema/").content
