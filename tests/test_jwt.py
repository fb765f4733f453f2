"""JSON Web Tokens: logging in, using, renewing and revoking them."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from tests.orders_shop import add_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(db: None) -> User:
    return add_user("ada", password="a password")


def post(address: str, **body: str) -> Any:
    return APIClient().post(f"/auth/jwt/{address}", body, format="json")


def log_in() -> dict[str, str]:
    answer = post("", username="ada", password="a password")
    assert answer.status_code == 200
    tokens: dict[str, str] = answer.json()
    return tokens


def status_with(access: str) -> int:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {access}")
    return int(client.get("/orders/").status_code)


def test_name_and_password_give_an_access_token_that_opens_the_orders(ada: User) -> None:
    assert status_with(log_in()["access"]) == 200
    assert post("", username="ada", password="wrong").status_code == 401


def test_a_refresh_token_is_no_access_token(ada: User) -> None:
    assert status_with(log_in()["refresh"]) == 401


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoxfQ."])
def test_a_forged_token_opens_nothing(ada: User, token: str) -> None:
    assert status_with(token) == 401
    assert post("refresh/", refresh=token).status_code in (400, 401)


def test_a_refresh_token_is_good_once_and_gives_a_new_pair(ada: User) -> None:
    first = log_in()
    second = post("refresh/", refresh=first["refresh"]).json()
    assert status_with(second["access"]) == 200
    again = post("refresh/", refresh=first["refresh"])
    assert again.status_code == 401
    assert again.json()["code"] == "token_not_valid"
    assert post("refresh/", refresh=second["refresh"]).status_code == 200


def test_a_revoked_refresh_token_gives_nothing_more(ada: User) -> None:
    refresh = log_in()["refresh"]
    assert post("revoke/", refresh=refresh).status_code == 200
    assert post("refresh/", refresh=refresh).status_code == 401


def test_a_new_password_ends_the_tokens_of_the_old_one(ada: User) -> None:
    tokens = log_in()
    ada.set_password("another password")
    ada.save()
    assert status_with(tokens["access"]) == 401


@pytest.mark.parametrize("fate", ["deleted", "inactive"])
def test_a_user_who_has_gone_gets_nothing_more(ada: User, fate: str) -> None:
    tokens = log_in()
    if fate == "deleted":
        ada.delete()
    else:
        User.objects.update(is_active=False)
    assert status_with(tokens["access"]) == 401
    assert post("refresh/", refresh=tokens["refresh"]).status_code == 401
