"""Tokens that do not expire: getting one, using it, and how it ends."""

import importlib
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken

from app.api import lasting_tokens
from app.models import ApiToken
from tests.orders_shop import add_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(db: None) -> User:
    return add_user("ada", password="a password")


def log_in(*, wrongly: bool = False) -> Any:
    password = "wrong" if wrongly else "a password"
    return APIClient().post("/auth/token/", {"username": "ada", "password": password}, format="json")


def client_with(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    return client


def status_with(token: str) -> int:
    return int(client_with(token).get("/orders/").status_code)


def test_each_login_has_a_token_of_its_own(ada: User) -> None:
    first, second = log_in().json()["token"], log_in().json()["token"]
    assert first != second
    assert [status_with(first), status_with(second)] == [200, 200]


def test_a_wrong_password_is_a_401_and_a_missing_one_a_400(ada: User) -> None:
    assert log_in(wrongly=True).status_code == 401
    assert APIClient().post("/auth/token/", {"username": "ada"}, format="json").status_code == 400


def test_a_new_password_ends_it(ada: User) -> None:
    token = log_in().json()["token"]
    ada.set_password("another password")
    ada.save()
    assert status_with(token) == 401


def test_another_change_of_the_user_ends_nothing(ada: User) -> None:
    token = log_in().json()["token"]
    User.objects.update(last_name="Lovelace")
    assert status_with(token) == 200


def test_deleting_it_ends_it_and_no_other(ada: User) -> None:
    first, second = log_in().json()["token"], log_in().json()["token"]
    assert client_with(first).delete("/auth/token/").status_code == 204
    assert [status_with(first), status_with(second)] == [401, 200]


def test_deleting_with_another_login_ends_all(ada: User) -> None:
    eve = log_in_as("eve")
    tokens = [log_in().json()["token"] for _ in range(2)]
    browser = Client(enforce_csrf_checks=False)
    browser.force_login(ada)
    assert browser.delete("/auth/token/").status_code == 204
    assert [status_with(token) for token in tokens] == [401, 401]
    assert status_with(eve) == 200


def log_in_as(name: str) -> str:
    return lasting_tokens.give_token(add_user(name, email=f"{name}@example.com"))


def test_nobody_deletes_without_a_login(ada: User) -> None:
    log_in()
    assert APIClient().delete("/auth/token/").status_code == 401
    assert ApiToken.objects.count() == 1


def test_an_inactive_user_has_none(ada: User) -> None:
    token = log_in().json()["token"]
    User.objects.update(is_active=False)
    assert status_with(token) == 401


def test_what_is_kept_opens_nothing(ada: User) -> None:
    token = log_in().json()["token"]
    kept = ApiToken.objects.get()
    assert token not in str(list(ApiToken.objects.values()))
    assert status_with(kept.digest) == 401


def test_a_user_has_so_many_and_the_oldest_makes_room(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting_tokens, "MOST_TOKENS", 2)
    tokens = [log_in().json()["token"] for _ in range(3)]
    assert [status_with(token) for token in tokens] == [401, 200, 200]


def test_the_back_office_shows_no_token(ada: User) -> None:
    token = log_in().json()["token"]
    boss = Client()
    boss.force_login(add_user("boss", is_staff=True, is_superuser=True))
    page = boss.get("/admin/app/apitoken/").content.decode()
    assert "ada" in page
    assert token not in page
    for address in ("/admin/authtoken/tokenproxy/", "/admin/token_blacklist/outstandingtoken/"):
        assert boss.get(address).status_code == 404


def test_tokens_of_release_0_1_go_on_before_and_after_they_are_digests(ada: User) -> None:
    old = Token.objects.create(user=ada).key
    RefreshToken.for_user(ada)
    assert status_with(old) == 200
    importlib.import_module("app.migrations.0003_no_token_in_clear").keep_digests(apps, None)
    assert not Token.objects.exists()
    assert OutstandingToken.objects.get().token == ""
    assert status_with(old) == 200
    ada.set_password("another password")
    ada.save()
    assert status_with(old) == 401
