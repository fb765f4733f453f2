"""`manage.py seed_demo`."""

from io import StringIO

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django import Settings
from rest_framework.test import APIClient

from app.checks import check_production, find_trial_users
from orders.models import Product
from tests.orders_shop import post_order, tasks_run_at_once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def development(settings: Settings) -> None:
    settings.DEBUG = True


def seed(*arguments: str) -> str:
    said = StringIO()
    call_command("seed_demo", *arguments, stdout=said)
    return said.getvalue()


def test_it_makes_a_shop_one_can_order_in_at_once() -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {seed('--print-token').strip()}")
    first, second = client.get("/products/").json()["results"][:2]
    with tasks_run_at_once():
        assert post_order(client, {first["sku"]: 1, second["sku"]: 1}).status_code == 201
    assert Product.objects.count() == 8


def test_its_users_can_log_in() -> None:
    seed()
    demo, admin = authenticate(username="demo", password="demo"), authenticate(username="admin", password="admin")
    assert isinstance(demo, User)
    assert isinstance(admin, User)
    assert (demo.email, demo.is_staff) == ("demo@example.com", False)
    assert (admin.is_staff, admin.is_superuser) == (True, True)


def test_what_is_there_already_is_left_alone() -> None:
    seed()
    Product.objects.update(price="1.00", stock=0)
    User.objects.filter(username="demo").update(email="me@example.com")
    assert "0 added, 8 in all" in seed()
    assert set(Product.objects.values_list("stock", flat=True)) == {0}
    assert User.objects.get(username="demo").email == "me@example.com"


def test_it_refuses_to_run_where_debug_is_off(settings: Settings) -> None:
    settings.DEBUG = False
    with pytest.raises(CommandError, match="DEBUG is on"):
        seed()
    assert not User.objects.exists()


def test_trial_users_are_named_until_their_passwords_are_changed() -> None:
    seed()
    assert sorted(each.msg.split("'")[1] for each in check_production() if each.id == "app.E001") == ["admin", "demo"]
    admin = User.objects.get(username="admin")
    admin.set_password("nobody knows this one")
    admin.save()
    User.objects.filter(username="demo").update(is_active=False)
    assert find_trial_users() == []


def test_a_user_called_admin_with_a_password_of_their_own_is_not_named() -> None:
    User.objects.create_user("admin", password="nobody knows this one")
    User.objects.create_user("demo")
    assert find_trial_users() == []
