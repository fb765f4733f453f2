"""The products, and the only code that changes a stock."""

import re
from collections.abc import Mapping
from typing import Self

from django.contrib.auth.models import AnonymousUser, User
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import connection, models, transaction
from django.db.models import F, ProtectedError, Q

from orders.errors import OrderRefusedError, ProductInUseError, StockError
from orders.models.rights import may_view

#: The most pieces of one product. Far below the limit of the column, so that pieces put back never overflow it.
MAX_STOCK = 1_000_000_000

#: A word of a search. What else Unicode takes for a space is a part of it: the schema has to say the same to everybody.
WORD = re.compile(r"[^ \t\r\n\f\v]+")

validate_sku = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z", "A SKU is made of letters, digits, dots, dashes and underscores."
)
validate_currency = RegexValidator(r"\A[A-Z]{3}\Z", "A currency is a three-letter ISO 4217 code such as EUR.")


class ProductQuerySet(models.QuerySet["Product"]):
    def on_sale(self) -> Self:
        return self.filter(active=True)

    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Return the products on sale; for staff with the right, all products."""
        return self if may_view(user, "product") else self.on_sale()

    def with_words(self, text: str) -> Self:
        """Return the products with every word of `text` in their SKU, name or description; case does not matter.

        On PostgreSQL migration 0004 has made an index for words of three letters and more.
        """
        found = self
        for word in dict.fromkeys(WORD.findall(text)):
            found = found.filter(Q(sku__icontains=word) | Q(name__icontains=word) | Q(description__icontains=word))
        return found

    def locked(self) -> Self:
        """Lock the rows until the transaction ends, always in the order of their sku.

        The order prevents deadlocks between transactions that want the same products. SQLite has no row locks and needs
        none, because it lets only one transaction write.
        """
        return self.order_by("sku").select_for_update(no_key=True)

    def take_stock(self, quantities: Mapping[str, int]) -> dict[str, "Product"]:
        """Take `quantities` (sku → pieces) from the stock, all or none, and return the products by sku.

        Call this inside a transaction. The rows stay locked until it ends, so no other order can take the same pieces,
        and names and prices do not change meanwhile. Raises OrderRefusedError, naming every sku that cannot be
        delivered.
        """
        products: dict[str, Product] = {
            product.sku: product for product in self.on_sale().filter(sku__in=list(quantities)).locked()
        }
        if reasons := _reasons_to_refuse(products, quantities):
            raise OrderRefusedError(reasons)
        _change_stocks({product.pk: -quantities[sku] for sku, product in products.items()})
        return products

    def put_back(self, pieces: Mapping[int, int]) -> None:
        """Return `pieces` (product id → how many) to the stock, also of products that are not sold any more.

        Call this inside a transaction.
        """
        list(self.filter(pk__in=list(pieces)).locked().values_list("pk"))
        _change_stocks(pieces)


def _change_stocks(changes: Mapping[int, int]) -> None:
    """Add `changes` (product id → pieces) to the stocks of locked products, by one statement.

    As SQL, because each order needs it: to build it costs Django several times what the database takes to run it.
    """
    whens, marks = " ".join(["WHEN %s THEN %s"] * len(changes)), ", ".join(["%s"] * len(changes))
    params = [number for change in changes.items() for number in change]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE orders_product SET stock = stock + CASE id {whens} END WHERE id IN ({marks})", [*params, *changes]
        )


def _reasons_to_refuse(products: Mapping[str, "Product"], quantities: Mapping[str, int]) -> dict[str, str]:
    """Return a reason for each sku that cannot be delivered. The first product sets the order's currency."""
    currency = next((products[sku].currency for sku in quantities if sku in products), "")
    reasons = {}
    for sku, quantity in quantities.items():
        product = products.get(sku)
        if product is None:
            reasons[sku] = f"No product '{sku}' is on sale."
        elif product.stock < quantity:
            reasons[sku] = f"Only {product.stock} of '{sku}' left, {quantity} asked for."
        elif product.currency != currency:
            reasons[sku] = (
                f"'{sku}' is sold in {product.currency} and this order is in {currency}: "
                "an order has one currency. Place a second order for it."
            )
    return reasons


class Product(models.Model):
    """A product. One that is not sold any more is made inactive, not deleted, because past orders refer to it."""

    sku = models.CharField("SKU", max_length=40, unique=True, validators=[validate_sku])
    name = models.CharField(max_length=200)
    description = models.TextField(max_length=5000, blank=True, default="")
    price = models.DecimalField(max_digits=10, decimal_places=2, validators=[MinValueValidator(0)])
    currency = models.CharField(max_length=3, validators=[validate_currency], default="EUR")
    stock = models.IntegerField(
        default=0, validators=[MinValueValidator(0), MaxValueValidator(MAX_STOCK)], help_text="Pieces that can be sold."
    )
    active = models.BooleanField(default=True, help_text="Inactive products are neither shown nor sold.")

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ["sku"]
        constraints = [
            models.CheckConstraint(
                condition=Q(price__gte=0),
                name="product_price_not_negative",
                violation_error_message="A price cannot be negative.",
            ),
            models.CheckConstraint(
                condition=Q(stock__gte=0),
                name="product_stock_not_negative",
                violation_error_message="A stock cannot be negative.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"

    def change_stock(self, change: int) -> None:
        """Add `change` pieces to the stock or, if negative, take them from it. Safe while orders take pieces, too.

        Raises StockError and changes nothing if the stock would be below 0 or above MAX_STOCK.
        """
        possible = Q(stock__gte=-change, stock__lte=MAX_STOCK - change)
        changed = Product.objects.filter(possible, pk=self.pk).update(stock=F("stock") + change)
        self.refresh_from_db(fields=["stock"])
        if not changed:
            raise StockError(
                f"The stock of '{self.sku}' is {self.stock} and cannot be changed by {change}: "
                f"it has to stay between 0 and {MAX_STOCK}."
            )

    @transaction.atomic
    def delete_unsold(self) -> None:
        """Delete a product that was never ordered. Raises ProductInUseError if it was: orders refer to it."""
        # The lock keeps new orders from taking the product meanwhile.
        Product.objects.select_for_update().get(pk=self.pk)
        try:
            self.delete()
        except ProtectedError as error:
            raise ProductInUseError(
                f"'{self.sku}' has been ordered, and orders are kept. Archive it instead: set active to false."
            ) from error
