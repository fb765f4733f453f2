"""Errors have one shape (RFC 9457), and nothing that a client can send is answered with HTML or a traceback."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import SuspiciousOperation
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from rest_framework.test import APIClient

from app.api.parsers import MAX_LEVELS
from app.urls import urlpatterns as service_urls
from tests.orders_shop import add_product, add_user, client_of, tasks_run_at_once

pytestmark = pytest.mark.django_db

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def fail(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError("a bug")


def lose_the_database(request: HttpRequest) -> HttpResponse:
    raise OperationalError("server closed the connection")


def suspect(request: HttpRequest) -> HttpResponse:
    raise SuspiciousOperation("no")


urlpatterns = [
    *service_urls,
    path("bug/", fail),
    path("lost/", lose_the_database),
    path("suspicious/", suspect),
]


@pytest.fixture(autouse=True)
def without_a_broker() -> Iterator[None]:
    with tasks_run_at_once():
        yield


@pytest.fixture(params=[False, True], ids=["production", "debug"])
def debug(request: pytest.FixtureRequest) -> Iterator[bool]:
    with override_settings(DEBUG=request.param):
        yield request.param


def assert_problem(answer: Any, status: int) -> dict[str, Any]:
    """Assert that `answer` is a problem that tells no secrets; return its members."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.content)
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert all(isinstance(body[name], str) and body[name] for name in ("title", "detail", "code"))
    assert "Traceback" not in answer.content.decode()
    return body


def post(body: bytes, content_type: str = "application/json") -> Any:
    add_product()
    return client_of(add_user()).post("/orders/", body, content_type=content_type)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"items": NaN}',
        b"\xff\xfe{}",
        '{"note": "ä"}'.encode("latin-1"),
        b"\0",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * (MAX_LEVELS + 1) + b"]" * (MAX_LEVELS + 1),
        b'{"note": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"items": [{"product": "MUG", "quantity": ' + b"9" * 10_000 + b"}]}",
        b'{"items": [{"product": "MUG\\u0000", "quantity": 1}]}',
        b'{"items": [{"product": "MUG", "quantity": 1e400}]}',
    ],
)
def test_whatever_is_no_order_is_a_400(body: bytes, debug: bool) -> None:
    assert_problem(post(body), 400)


@pytest.mark.parametrize("charset", ["utf-16", "base64", "rot13", "zlib", "undefined", "no-such-charset"])
def test_a_body_is_read_as_utf_8_whatever_it_says_it_is(charset: str) -> None:
    answer = post(b'{"items": [{"product": "MUG", "quantity": 1}]}', f"application/json; charset={charset}")
    assert answer.status_code == 201


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "x"])
def test_another_content_type_than_json_is_a_415(content_type: str) -> None:
    assert_problem(post(b"{}", content_type), 415)


def test_a_body_that_is_too_large_is_a_413_and_is_not_read() -> None:
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000):
        assert "1000" in assert_problem(post(b'"' + b"x" * 999 + b'"'), 413)["detail"]


def test_a_body_that_is_just_small_enough_is_read() -> None:
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000):
        assert_problem(post(b'"' + b"x" * 998 + b'"'), 400)


def test_what_is_wrong_with_a_body_is_pointed_at() -> None:
    problem = assert_problem(post(b'{"items": [{"product": "MUG", "quantity": 0}], "note": []}'), 400)
    assert problem["code"] == "invalid"
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [
        ("#/note", "invalid"),
        ("#/items/0/quantity", "min_value"),
    ]


def test_an_unknown_address_is_a_404(debug: bool) -> None:
    assert_problem(APIClient().get("/nowhere/"), 404)
    assert_problem(client_of(add_user()).get("/orders/1/"), 404)


def test_a_post_that_forgot_the_slash_is_told_so(debug: bool) -> None:
    assert "/orders/" in assert_problem(APIClient().post("/orders", {}, format="json"), 404)["detail"]
    assert APIClient().get("/orders")["Location"] == "/orders/"


def test_an_unknown_method_is_a_405_that_names_the_known_ones(debug: bool) -> None:
    answer = client_of(add_user()).generic("BREW", "/orders/")
    assert_problem(answer, 405)
    assert "GET" in answer["Allow"]


def test_what_cannot_be_rendered_is_a_406() -> None:
    assert_problem(APIClient().get("/products/", headers={"accept": "image/png"}), 406)


def test_a_host_that_is_not_ours_is_a_400(debug: bool) -> None:
    assert_problem(APIClient().get("/products/", headers={"host": "evil.example"}), 400)


def test_without_authentication_the_401_says_how_to_authenticate() -> None:
    answer = APIClient().get("/orders/")
    assert assert_problem(answer, 401)["code"] == "not_authenticated"
    assert answer["WWW-Authenticate"]


@pytest.mark.urls(__name__)
def test_a_bug_is_a_500_that_is_logged_and_shows_nothing(debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert_problem(Client(raise_request_exception=False).get("/bug/"), 500)
    assert "a bug" in caplog.text


@pytest.mark.urls(__name__)
def test_a_database_that_fails_is_a_503_that_says_when_to_come_back() -> None:
    answer = Client().get("/lost/")
    assert_problem(answer, 503)
    assert int(answer["Retry-After"]) > 0


@pytest.mark.urls(__name__)
def test_a_suspicious_request_is_a_400(debug: bool) -> None:
    assert_problem(Client().get("/suspicious/"), 400)


@pytest.mark.parametrize("url", ["/nowhere/", "/orders/"])
def test_a_person_with_a_browser_gets_a_page(url: str) -> None:
    answer = Client().get(url, headers={"accept": BROWSER})
    assert answer.status_code in (401, 404)
    assert answer["Content-Type"].startswith("text/html")


def test_a_query_parameter_that_makes_no_sense_is_named() -> None:
    problem = assert_problem(client_of(add_user()).get("/orders/?ordering=,,"), 400)
    assert [(error["parameter"], error["code"]) for error in problem["errors"]] == [("ordering", "invalid")]
