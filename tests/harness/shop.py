"""A client of the service's HTTP API that remembers what it was promised."""

import threading
from dataclasses import dataclass, field
from typing import Any

import requests

#: Longer than the service may ever take, so that only a real hang ends in it.
ANSWER_SECONDS = 30.0

Order = dict[str, Any]


@dataclass
class Shop:
    """The demo customer at the service on `port`. Several threads may use one.

    Each request has a connection of its own, so none fails because the server was restarted in between.
    """

    port: int
    token: str
    #: The orders that were answered with 201, in the order of the answers.
    accepted: list[Order] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request as the demo customer; `options` are those of `requests`."""
        return requests.request(
            method,
            f"http://127.0.0.1:{self.port}{path}",
            headers={"Authorization": f"Token {self.token}", "Connection": "close"},
            timeout=ANSWER_SECONDS,
            **options,
        )

    def post_order(self, quantities: dict[str, int], *, note: str = "") -> requests.Response:
        """Post an order of `{sku: quantity}` and return whatever the service answers."""
        items = [{"product": sku, "quantity": quantity} for sku, quantity in quantities.items()]
        answer = self.request("POST", "/orders/", json={"items": items, "note": note})
        if answer.status_code == requests.codes.created:
            with self._lock:
                self.accepted.append(answer.json())
        return answer

    def order(self, quantities: dict[str, int] | None = None) -> Order:
        """Place an order, of one packet of filters unless told otherwise, and return it as the service answered."""
        answer = self.post_order(quantities or {"FILTERS-100": 1})
        assert answer.status_code == requests.codes.created, f"{answer.status_code}: {answer.text}"
        order: Order = answer.json()
        return order

    def stock(self) -> dict[str, int]:
        """How many of each product are left."""
        return {product["sku"]: product["stock"] for product in self.request("GET", "/products/").json()["results"]}
