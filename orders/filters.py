"""Filters and orderings of the lists. A value that makes no sense is answered with 400."""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django_filters import rest_framework as filters
from django_filters.fields import BaseCSVField, IsoDateTimeField
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field

from orders.models import Order, Product
from orders.models.products import WORD, ProductQuerySet
from orders.values.money import PLAIN_AMOUNT


class MomentField(IsoDateTimeField):
    def clean(self, value: Any) -> datetime | None:
        moment: datetime | None = super().clean(value)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError as error:
            raise forms.ValidationError("This is before or after all time.", code="invalid") from error


class MomentFilter(filters.IsoDateTimeFilter):
    """A moment in ISO 8601; without an offset it is in the time zone of the service."""

    field_class = MomentField


class ColumnsField(BaseCSVField):
    def clean(self, value: list[str] | None) -> Any:
        if value and "" in value:
            raise forms.ValidationError("There is nothing between two commas.")
        return super().clean(value)


class OrderingFilter(filters.OrderingFilter):
    """Columns, separated by commas. A minus before a column reverses its order."""

    base_field_class = ColumnsField


@extend_schema_field(OpenApiTypes.BOOL)
class YesNoFilter(filters.TypedChoiceFilter):
    """`true` or `false`. django-filter's own ignores any other value."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            choices=[("true", "Yes"), ("false", "No")], coerce={"true": True, "false": False}.get, **options
        )


class OrderFilter(filters.FilterSet):
    status = filters.MultipleChoiceFilter(
        choices=Order.Status.choices, distinct=False, help_text="May be given several times."
    )
    confirmation = filters.MultipleChoiceFilter(
        field_name="confirmation_state",
        choices=Order.Confirmation.choices,
        distinct=False,
        help_text="State of the confirmation e-mail, as its task has recorded it. May be given several times.",
    )
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte", help_text="At this moment or later.")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt", help_text="Before this moment.")
    # An index holds the orders by time. Ordering by total sorts the orders of one customer each time.
    ordering = OrderingFilter(fields=["created_at", "total"])

    class Meta:
        model = Order
        fields: list[str] = []


#: Each word is looked for in three columns of every product.
MAX_WORDS = 8


def validate_words(text: str) -> None:
    if len(WORD.findall(text)) > MAX_WORDS:
        raise forms.ValidationError(f"More than {MAX_WORDS} words: leave some out.", code="max_words")


class AmountField(forms.DecimalField):
    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and value and not PLAIN_AMOUNT.fullmatch(value.strip()):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


class AmountFilter(filters.NumberFilter):
    field_class = AmountField


def _price(lookup: str) -> AmountFilter:
    """Bounded as prices are, so that a number with a million digits is refused at once."""
    return AmountFilter(field_name="price", lookup_expr=lookup, min_value=0, max_digits=10, decimal_places=2)


class ProductFilter(filters.FilterSet):
    search = filters.CharFilter(
        method="search_words",
        max_length=200,
        validators=[validate_words],
        help_text=f"Up to {MAX_WORDS} words in SKU, name or description.",
    )
    price_min = _price("gte")
    price_max = _price("lte")
    active = YesNoFilter(help_text="Whether the product is sold. Only staff see products that are not.")
    in_stock = YesNoFilter(method="by_stock", help_text="Whether any piece is left.")
    ordering = OrderingFilter(fields=["sku", "name", "price"])

    class Meta:
        model = Product
        fields = ["currency"]

    def search_words(self, products: ProductQuerySet, name: str, text: str) -> ProductQuerySet:
        return products.with_words(text)

    def by_stock(self, products: ProductQuerySet, name: str, wanted: bool) -> ProductQuerySet:
        return products.filter(stock__gt=0) if wanted else products.filter(stock=0)
