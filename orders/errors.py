"""What can go wrong with an order.

OrderRefusedError    the shop cannot deliver what was asked for
"""

from collections.abc import Mapping


class OrderRefusedError(Exception):
    """Raised when an order cannot be placed as asked for. Nothing has been written then.

    `reasons` holds one sentence for every sku at fault, fit to be shown to the customer.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(" ".join(reasons.values()))
        self.reasons = dict(reasons)
