"""What a search may cost: words are few, a statement has a bounded time, and PostgreSQL has an index."""

import time
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import RequestFactory
from rest_framework.test import APIClient

from app.api.problems import ProblemMiddleware
from app.wsgi import limit_statements
from orders.models import Product
from tests.orders_shop import add_product

pytestmark = pytest.mark.django_db


def search(text: str) -> Any:
    return APIClient().get("/products/", {"search": text})


def test_a_search_has_eight_words_at_most() -> None:
    add_product(name=" ".join("abcdefgh"))
    assert len(search("a b c d e f g h").json()["results"]) == 1
    refused = search(" ".join(["a"] * 95))
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["parameter"] == "search"
    assert search("a b c d e f g h i").status_code == 400


@pytest.mark.parametrize("space", ["\x1c", "\x85", "\xa0", "\u2003"])
def test_the_schema_and_the_search_count_words_alike(space: str) -> None:
    """What is a space beside ASCII's is another set in each language of patterns."""
    assert search(space.join("abcdefghijkl")).status_code == 200


def test_a_word_that_is_given_twice_is_looked_for_once() -> None:
    assert str(Product.objects.with_words("mug mug").query) == str(Product.objects.with_words("mug").query)


@pytest.mark.databases("postgresql")
def test_an_index_answers_words_of_three_letters() -> None:
    Product.objects.bulk_create(
        Product(sku=f"P{n}", name=f"Product {n}", description="Made by hand. " * 20, price=1, currency="EUR", stock=1)
        for n in range(5000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE orders_product")
        cursor.execute("SELECT gin_clean_pending_list('orders_product_search')")  # as autovacuum does
        cursor.execute("SET LOCAL enable_seqscan = off")  # the table is small
    assert "orders_product_search" in Product.objects.with_words("4321").explain()


@pytest.mark.databases("postgresql")
@pytest.mark.django_db(transaction=True)
def test_a_statement_of_web_is_ended_after_its_time_and_the_answer_says_so(settings: Any) -> None:
    settings.STATEMENT_SECONDS = 1
    limit_statements(connection)
    began = time.monotonic()
    try:
        with pytest.raises(OperationalError) as raised, connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(20)")
    finally:
        connection.close()
    assert time.monotonic() - began < 10
    answer = ProblemMiddleware(lambda request: None).process_exception(RequestFactory().get("/"), raised.value)  # type: ignore[arg-type, return-value]
    assert answer is not None
    assert answer.status_code == 503
    assert b"took too long" in answer.content
