"""What can go wrong with an order or a product. Each message may be shown to the client.

OrdersError
├── OrderRefusedError        the shop cannot deliver what was ordered
└── ConflictError            the present state does not allow the change
    ├── IllegalMoveError     an order in this status cannot get that status
    ├── ProductInUseError    orders refer to the product
    └── StockError           there are not that many pieces
"""

from collections.abc import Mapping


class OrdersError(Exception):
    """Base of the business's own errors."""


class OrderRefusedError(OrdersError):
    """Raised when an order cannot be placed as the client sent it. Nothing has been written then.

    `reasons` holds one sentence, which the customer may see, for every sku that cannot be delivered.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(" ".join(reasons.values()))
        self.reasons = dict(reasons)


class ConflictError(OrdersError):
    """Raised when the present state does not allow the change. The API answers 409. Nothing was written."""


class IllegalMoveError(ConflictError):
    """Raised when an order cannot get the wanted status, or when its note cannot be changed any more."""


class ProductInUseError(ConflictError):
    """Raised when a product that was ordered is to be deleted."""


class StockError(ConflictError):
    """Raised when a stock cannot be changed by that much."""
