"""Amounts and their currencies: those of ISO 4217, with as many decimals as each has."""

import re
from decimal import Decimal

from django.core.exceptions import ValidationError
from iso4217 import Currency

#: How an amount is written: no sign, exponent, underscore, or digits of another script.
PLAIN_AMOUNT = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?")


def decimals_of(currency: str) -> int | None:
    """Return how many decimals amounts in a currency have. None: ISO 4217 has no such money (gold is none)."""
    try:
        exponent: int | None = Currency(currency).exponent
    except ValueError:
        return None
    return exponent


def check_price(price: Decimal, currency: str) -> None:
    """Raise ValidationError, by field, for a price that nobody could pay."""
    decimals = decimals_of(currency)
    if decimals is None:
        raise ValidationError({"currency": f"'{currency}' is no currency of ISO 4217: write one such as EUR."})
    if price != round(price, decimals):
        raise ValidationError({"price": f"A price in {currency} has {decimals or 'no'} decimals."})


def money(amount: Decimal, currency: str) -> str:
    """Return `amount` with its currency and that one's decimals, two at most: 1,234.50 EUR, 1,500 JPY.

    What was sold at a price with other decimals is shown to the cent.
    """
    decimals = decimals_of(currency)
    shown = 0 if decimals == 0 and amount == round(amount) else 2
    return f"{amount:,.{shown}f} {currency}"
