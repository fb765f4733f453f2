"""Which client a request comes from, behind proxies of every kind."""

from typing import Any

import pytest
from django.test import RequestFactory, override_settings
from rest_framework.test import APIClient

from app.api.client_address import client_group, client_of, parse_address
from app.models import Throttle
from settings.service import ServiceSettings
from settings.values.proxies import read_proxies
from tests.orders_shop import add_user
from tests.settings_carrier import problem, service
from tests.test_throttling import assert_refused, limits

PROXY, CDN = "10.0.0.7", "192.0.2.50"


def seen(forwarded: str | None, trusted: str, remote: str = PROXY) -> str:
    headers: dict[str, Any] = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    with override_settings(TRUSTED_PROXIES=read_proxies(trusted.split(","))):
        return client_of(RequestFactory(REMOTE_ADDR=remote).get("/", **headers))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:51123", "203.0.113.9"),
        (" 203.0.113.9 ", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("unknown", "None"),
        ("_hidden", "None"),
        ("203.0.113.900", "None"),
        ("1" * 130, "None"),
        ("", "None"),
    ],
)
def test_an_address_is_read_as_proxies_write_it(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    ("forwarded", "trusted", "client"),
    [
        ("198.51.100.1", "0", PROXY),
        ("198.51.100.1", "1", "198.51.100.1"),
        ("6.6.6.6, 198.51.100.1", "1", "198.51.100.1"),
        ("6.6.6.6, 198.51.100.1, 192.0.2.50", "2", "198.51.100.1"),
        ("198.51.100.1", "2", "198.51.100.1"),
        (None, "2", PROXY),
        ("nonsense", "1", PROXY),
        ("198.51.100.1:4711", "1", "198.51.100.1"),
        ("6.6.6.6, 198.51.100.1, 192.0.2.50", "10.0.0.0/8,192.0.2.0/24", "198.51.100.1"),
        ("6.6.6.6, 198.51.100.1", "10.0.0.0/8,192.0.2.0/24", "198.51.100.1"),
        ("6.6.6.6, nonsense, 192.0.2.50", "10.0.0.0/8,192.0.2.0/24", CDN),
        ("10.0.0.8", "10.0.0.0/8", "10.0.0.8"),
        ("6.6.6.6", "192.0.2.0/24", PROXY),
        (None, "10.0.0.0/8", PROXY),
    ],
)
def test_only_what_our_own_proxies_wrote_is_believed(forwarded: str | None, trusted: str, client: str) -> None:
    assert seen(forwarded, trusted) == client


@pytest.mark.parametrize("trusted", ["1", "10.0.0.0/8"])
def test_a_proxy_on_a_unix_socket_has_no_address_of_its_own(trusted: str) -> None:
    assert seen("198.51.100.1", trusted, remote="localhost") == "198.51.100.1"
    assert seen(None, trusted, remote="localhost") == "unknown"


@pytest.mark.parametrize(
    ("remote", "group"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
    ],
)
def test_the_addresses_of_one_customer_are_one_client(remote: str, group: str) -> None:
    assert client_group(RequestFactory(REMOTE_ADDR=remote).get("/")) == group


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("many", "has 'many', which is no network"),
        ("10.0.0.1/8", "has '10.0.0.1/8', which is no network"),
        ("0.0.0.0/0", "has '0.0.0.0/0', which is everybody"),
        ("8000", "is more than 10 proxies"),
        ("1,10.0.0.0/8", "has '1', which is no network"),
    ],
)
def test_what_is_no_number_and_no_network_is_refused(value: str, reason: str) -> None:
    assert reason in problem(ServiceSettings, TRUSTED_PROXIES=value)


def test_who_trusts_the_headers_of_a_proxy_trusts_one() -> None:
    assert service().proxies == 0
    assert service(TRUST_PROXY_HEADERS="true").proxies == 1
    assert service(TRUST_PROXY_HEADERS="true", TRUSTED_PROXIES="2").proxies == 2


@pytest.mark.django_db
def test_a_client_whose_proxy_sends_its_port_is_one_client_however_often_it_connects() -> None:
    with override_settings(TRUSTED_PROXIES=1), limits(anonymous=2):
        for port in (50_001, 50_002):
            get("/products/", f"203.0.113.9:{port}")
        assert_refused(get("/products/", "203.0.113.9:50003"))
        assert get("/products/", "203.0.113.10:50003").status_code == 200


@pytest.mark.django_db
def test_a_long_header_is_no_error() -> None:
    with override_settings(TRUSTED_PROXIES=1), limits(logins=1):
        body = {"username": "nobody", "password": "x"}
        for long in ("1" * 130, "1." * 500):
            answer = APIClient().post("/auth/token/", body, format="json", headers={"x-forwarded-for": long})
            assert answer.status_code in (401, 429)


def get(address: str, forwarded: str) -> Any:
    return APIClient().get(address, headers={"x-forwarded-for": forwarded})


# --- what is refused counts -------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("token", ["Token nonsense", "Bearer a.b.c", None])
def test_a_401_counts_for_its_address(token: str | None) -> None:
    client = APIClient()
    if token:
        client.credentials(HTTP_AUTHORIZATION=token)
    with limits(anonymous=3):
        assert [client.get("/orders/").status_code for _ in range(3)] == [401] * 3
        assert_refused(client.get("/orders/"))
    assert Throttle.objects.get().hits == 3


@pytest.mark.django_db(transaction=True)
def test_a_403_counts_for_its_user() -> None:
    client = APIClient()
    client.force_login(add_user())
    with limits(user=2):
        assert [client.delete("/products/MUG/").status_code for _ in range(2)] == [403, 403]
        assert_refused(client.delete("/products/MUG/"))


# --- wrong passwords of one account, from everywhere ------------------------------------------------------------------


def log_in(address: str, *, rightly: bool = False, path: str = "/auth/token/") -> int:
    body = {"username": "ada", "password": "a password" if rightly else "wrong"}
    form = "multipart" if path == "/auth/login/" else "json"
    return int(APIClient(REMOTE_ADDR=address).post(path, body, format=form).status_code)


@pytest.mark.django_db(transaction=True)
def test_a_password_is_guessed_slowly_from_many_addresses_and_its_owner_still_gets_in() -> None:
    add_user("ada", password="a password")
    with limits(**{"failed logins": 3}):
        paths = ["/auth/token/", "/auth/jwt/", "/auth/login/"]
        assert [log_in(f"192.0.2.{n}", path=path) for n, path in enumerate(paths)] == [401, 401, 200]
        assert [log_in("192.0.2.9"), log_in("192.0.2.9")] == [401, 429]
        assert log_in("198.51.100.1", rightly=True) == 200
        assert not Throttle.objects.filter(key__contains="ada").exists()


@pytest.mark.django_db(transaction=True)
def test_right_passwords_and_other_accounts_do_not_count() -> None:
    add_user("ada", password="a password")
    with limits(**{"failed logins": 2}):
        assert [log_in("192.0.2.1", rightly=True) for _ in range(4)] == [200] * 4
        eve = {"username": "eve", "password": "wrong"}
        for _ in range(3):
            APIClient().post("/auth/token/", eve, format="json")
        assert log_in("192.0.2.1", rightly=True) == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("body", ["[", "[]", '{"username": 5}', '{"username": "\\ud800"}', "[" * 100_000])
def test_a_body_without_a_name_is_no_error(body: str) -> None:
    with limits(**{"failed logins": 1}):
        assert APIClient().generic("POST", "/auth/jwt/", body, "application/json").status_code in (400, 401)
