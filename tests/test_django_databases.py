"""Tests of Django's kind run on both databases, and so do the threads they start."""

from threading import Thread

import pytest
from django.db import connection, connections, transaction

from orders.models import Product


def vendor_and_products(found: list[tuple[str, int]]) -> None:
    found.append((connection.vendor, Product.objects.count()))
    connections.close_all()


@pytest.mark.django_db
def test_the_default_database_is_the_one_the_test_runs_on(django_database: str) -> None:
    assert connection.vendor == django_database
    assert not Product.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_threads_see_the_same_database(django_database: str) -> None:
    with transaction.atomic():
        Product.objects.create(sku="TEA", name="Tea", price="3.50", currency="EUR", stock=1)
    found: list[tuple[str, int]] = []
    thread = Thread(target=vendor_and_products, args=(found,))
    thread.start()
    thread.join()
    assert found == [(django_database, 1)]
