"""A client that a public generator made from the OpenAPI description, as a customer's programmer would."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from settings import PROJECT_ROOT
from tests.harness.servers import Servers
from tests.harness.service import Service, Surroundings
from tests.harness.smtp import MailServer


@pytest.fixture
def site(tmp_path: Path, servers: Servers) -> Iterator[Service]:
    """The web server alone, on SQLite."""
    database = servers.databases("sqlite").create()
    service = Service(tmp_path, Surroundings(servers.broker("redis"), database, MailServer()))
    service.start_web()
    yield service
    service.stop()
    database.drop()


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the generated package `shop_client`."""
    binaries = Path(sys.executable).parent
    command = [str(binaries / "openapi-python-client"), "generate", "--meta", "none", "--fail-on-warning"]
    command += ["--path", str(PROJECT_ROOT / "docs" / "openapi.yaml"), "--output-path", str(tmp_path / "shop_client")]
    # It formats what it writes with the `ruff` of the PATH.
    monkeypatch.setenv("PATH", str(binaries), prepend=":")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda name: importlib.import_module(f"shop_client.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop_client"]:
        del sys.modules[name]


def test_a_generated_client_places_an_order_reads_and_cancels_it(site: Service, generated: Any) -> None:
    models = generated("models")
    address = f"http://127.0.0.1:{site.port}"
    login = models.TokenObtainPairRequest(username="demo", password="demo")
    tokens = generated("api.auth.auth_jwt_create").sync(client=generated("client").Client(address), body=login)
    customer = generated("client").AuthenticatedClient(address, token=tokens.access)
    wanted = models.OrderRequest(items=[models.OrderItemRequest(product="FILTERS-100", quantity=2)], note="Ring twice.")

    key = str(uuid4())
    place = generated("api.orders.orders_create").sync
    order = place(client=customer, body=wanted, idempotency_key=key)
    assert (order.total, order.items[0].quantity, order.status.value) == ("9.60", 2, "placed")
    assert place(client=customer, body=wanted, idempotency_key=key).order_id == order.order_id

    assert generated("api.orders.orders_retrieve").sync(order.order_id, client=customer).number == order.number
    listed = generated("api.orders.orders_list").sync(client=customer)
    assert [each.number for each in listed.results] == [order.number]
    reason = models.CancellationRequest(reason="Ordered the wrong ones.")
    cancelled = generated("api.orders.orders_cancel_create").sync(order.order_id, client=customer, body=reason)
    assert cancelled.status.value == "cancelled"


def test_a_generated_client_understands_a_refusal(site: Service, generated: Any) -> None:
    models = generated("models")
    customer = generated("client").AuthenticatedClient(
        f"http://127.0.0.1:{site.port}", token=site.shop.token, prefix="Token"
    )
    wanted = models.OrderRequest(items=[models.OrderItemRequest(product="NONE", quantity=1)])
    problem = generated("api.orders.orders_create").sync(client=customer, body=wanted)
    assert (problem.status, problem.code) == (400, "invalid")
    assert problem.errors[0].pointer == "#/items/0/product"
