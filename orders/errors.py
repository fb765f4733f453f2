"""What can go wrong with an order or a product. Each message is fit to be shown to whoever asked.

OrdersError
├── OrderRefusedError        the shop cannot deliver what was asked for
└── ConflictError            it cannot be done to what is there as it is now
    ├── IllegalMoveError     an order in this status cannot become that
    ├── ProductInUseError    orders refer to the product
    └── StockError           there are not that many pieces
"""

from collections.abc import Mapping


class OrdersError(Exception):
    """Base of the business's own errors."""


class OrderRefusedError(OrdersError):
    """Raised when an order cannot be placed as asked for. Nothing has been written then.

    `reasons` holds one sentence for every sku at fault, fit to be shown to the customer.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(" ".join(reasons.values()))
        self.reasons = dict(reasons)


class ConflictError(OrdersError):
    """Raised when the state of things does not allow what is asked for; the API answers 409. Nothing was written."""


class IllegalMoveError(ConflictError):
    """Raised when an order cannot become what is asked for, or its note cannot be changed any more."""


class ProductInUseError(ConflictError):
    """Raised when a product that was ordered is to be deleted."""


class StockError(ConflictError):
    """Raised when a stock cannot be changed by that much."""
