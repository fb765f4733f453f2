"""JSON Web Tokens: logging in, using, renewing and revoking them."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken

from app.models import ApiToken, TokenFamily
from app.tasks import forget_expired
from tests.harness.crowd import at_once
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
    assert post("refresh/", refresh=second["refresh"]).status_code == 200
    again = post("refresh/", refresh=first["refresh"])
    assert again.status_code == 401
    assert again.json()["code"] == "token_not_valid"


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


# --- the family of a login --------------------------------------------------------------------------------------------


def refresh(token: str) -> int:
    return int(post("refresh/", refresh=token).status_code)


@pytest.mark.django_db(transaction=True)
def test_of_six_simultaneous_uses_of_a_refresh_token_one_gives_a_pair_at_most_and_none_lasts(ada: User) -> None:
    token = log_in()["refresh"]
    answers = at_once([lambda: post("refresh/", refresh=token)] * 6)
    assert sorted(each.status_code for each in answers) == [200, *[401] * 5]
    [pair] = [each.json() for each in answers if each.status_code == 200]
    # Two hands had the token; who holds its successor has to log in again.
    assert refresh(pair["refresh"]) == 401


@pytest.mark.django_db(transaction=True)
def test_a_refresh_token_that_is_used_again_ends_its_login_and_no_other(ada: User) -> None:
    stolen, elsewhere = log_in(), log_in()
    thief = post("refresh/", refresh=stolen["refresh"]).json()
    assert refresh(stolen["refresh"]) == 401
    assert refresh(thief["refresh"]) == 401
    assert refresh(elsewhere["refresh"]) == 200


def test_logging_out_ends_the_tokens_that_would_have_followed(ada: User) -> None:
    first = log_in()
    second = post("refresh/", refresh=first["refresh"]).json()
    assert post("revoke/", refresh=first["refresh"]).status_code == 200
    assert refresh(second["refresh"]) == 401


@pytest.mark.django_db(transaction=True)
def test_after_a_new_password_a_refresh_is_refused(ada: User) -> None:
    token = log_in()["refresh"]
    ada.set_password("another password")
    ada.save()
    answer = post("refresh/", refresh=token)
    assert answer.status_code == 401
    assert "password" in answer.json()["detail"]
    assert not TokenFamily.objects.exists()


def test_nothing_in_the_database_is_a_token(ada: User) -> None:
    token = log_in()["refresh"]
    renewed = post("refresh/", refresh=token).json()["refresh"]
    kept = str([list(model.objects.values()) for model in (TokenFamily, OutstandingToken, ApiToken)])
    for secret in (token, renewed):
        assert secret not in kept
        assert secret.split(".")[2] not in kept


@pytest.mark.django_db(transaction=True)
def test_a_token_of_release_0_1_is_good_once_and_begins_a_family(ada: User) -> None:
    old = str(RefreshToken.for_user(ada))
    renewed = post("refresh/", refresh=old).json()
    assert refresh(old) == 401
    assert refresh(renewed["refresh"]) == 200
    assert post("revoke/", refresh=str(RefreshToken.for_user(ada))).status_code == 200


def test_logins_that_have_expired_are_forgotten(ada: User) -> None:
    log_in(), log_in()
    old = TokenFamily.objects.first()
    assert old is not None
    TokenFamily.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    forget_expired()
    assert TokenFamily.objects.count() == 1
