"""Orders and products as JSON: what a client may send, and what it gets."""

from collections import Counter
from decimal import Decimal
from inspect import getdoc
from typing import Any

from django.core.exceptions import ValidationError as InvalidValue
from django.db import models
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from orders import confirmations
from orders.errors import OrderRefusedError
from orders.models import Order, OrderEvent, OrderItem, Product
from orders.models.orders import MAX_LINES, MAX_QUANTITY
from orders.models.products import MAX_STOCK
from orders.values.addresses import deliverable
from orders.values.money import PLAIN_AMOUNT, check_price
from orders.values.strictness import StrictFields

NO_EMAIL_ADDRESS = (
    "Your account has no valid e-mail address to send the confirmation to. Have one added to it, then order again."
)

# --- Fields that take JSON's own types only ---------------------------------------------------------------------------
#
# REST framework would turn a number into a text, and a text into a number.


class Text(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class WholeNumber(serializers.IntegerField):
    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int | float) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class Money(serializers.DecimalField):
    """An amount as text, such as "16.00": in a JSON number, many programs would lose cents."""

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str) or not PLAIN_AMOUNT.fullmatch(data):
            self.fail("invalid")
        return super().to_internal_value(data)


class YesNo(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


MOMENT = serializers.DateTimeField()

#: The fields that ModelSerializer uses for the columns of a model.
FIELDS_OF_COLUMNS: dict[type[models.Field], type[serializers.Field]] = {
    **serializers.ModelSerializer.serializer_field_mapping,
    models.CharField: Text,
    models.TextField: Text,
    models.IntegerField: WholeNumber,
    models.DecimalField: Money,
    models.BooleanField: YesNo,
}


# --- Serializers ------------------------------------------------------------------------------------------------------


class ProductSerializer(StrictFields, serializers.ModelSerializer[Product]):
    serializer_field_mapping = FIELDS_OF_COLUMNS

    class Meta:
        model = Product
        fields = ["sku", "name", "description", "price", "currency", "stock", "active"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse changes that orders rely on. Setting a stock would undo the sales made meanwhile."""
        cures = {
            "sku": "A SKU cannot be changed: archive this product and create another one.",
            "stock": "A stock cannot be set: post the change to the product's stock/.",
        }
        refused = {name: [cure] for name, cure in cures.items() if self.instance and name in attrs}
        if refused:
            raise serializers.ValidationError(refused)
        if "price" in attrs or "currency" in attrs:
            kept = self.instance or Product()
            try:
                check_price(attrs.get("price", kept.price), attrs.get("currency", kept.currency))
            except InvalidValue as error:
                raise serializers.ValidationError(error.message_dict) from error
        return attrs


class StockChangeSerializer(StrictFields, serializers.Serializer[Product]):
    change = WholeNumber(
        min_value=-MAX_STOCK, max_value=MAX_STOCK, help_text="Pieces to add or, if negative, to take away."
    )


class OrderItemSerializer(StrictFields, serializers.Serializer[OrderItem]):
    """A line. The client sends the product and a quantity; the answer has the rest."""

    product = Text(source="sku", max_length=40, help_text="The product's SKU.")
    name = serializers.CharField(read_only=True)
    unit_price = serializers.DecimalField(max_digits=10, decimal_places=2, read_only=True)
    quantity = WholeNumber(min_value=1, max_value=MAX_QUANTITY)
    line_total = serializers.DecimalField(max_digits=16, decimal_places=2, read_only=True)


class ConfirmationSerializer(serializers.Serializer[confirmations.Confirmation]):
    """The state of the confirmation e-mail."""

    state = serializers.ChoiceField(
        choices=Order.Confirmation.choices,
        help_text="sending: begun, but not accepted by the mail server yet. "
        "withdrawn: the order was cancelled before the e-mail was sent.",
    )
    attempts = serializers.IntegerField(min_value=0)
    sent_at = serializers.DateTimeField(allow_null=True)


@extend_schema_field(ConfirmationSerializer)
class ConfirmationField(serializers.Field):
    """What is recorded. The page of one order also asks Celery for the state of the task."""

    def get_attribute(self, order: Order) -> confirmations.Confirmation:
        view = self.context.get("view")
        alone = view is not None and view.action == "retrieve"
        return confirmations.current(order) if alone else confirmations.recorded(order)

    def to_representation(self, confirmation: confirmations.Confirmation) -> dict[str, Any]:
        return {
            "state": str(confirmation.state),
            "attempts": confirmation.attempts,
            "sent_at": confirmation.sent_at and MOMENT.to_representation(confirmation.sent_at),
        }


class OrderSerializer(StrictFields, serializers.Serializer[Order]):
    # Its fields are written out: a ModelSerializer would make them anew from the model with each request.

    order_id = serializers.UUIDField(read_only=True)
    number = serializers.CharField(read_only=True, help_text=getdoc(Order.number))
    customer = serializers.CharField(source="user.username", read_only=True, help_text="The customer's user name.")
    status = serializers.ChoiceField(choices=Order.Status.choices, read_only=True)
    currency = serializers.CharField(read_only=True)
    total = serializers.DecimalField(max_digits=16, decimal_places=2, read_only=True)
    note = Text(max_length=500, required=False, allow_blank=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)
    confirmation = ConfirmationField(read_only=True)
    items: serializers.ListSerializer[OrderItem] = serializers.ListSerializer(
        child=OrderItemSerializer(), source="lines", allow_empty=False, max_length=MAX_LINES
    )

    def validate_items(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Refuse a product that is named twice.

        We do not add the lines up: a repeated product is more often a client's mistake than a customer's wish.
        """
        times = Counter(item["sku"] for item in items)
        repeated = {
            sku: f"'{sku}' is named {count} times: name it once, with the quantity you want."
            for sku, count in times.items()
            if count > 1
        }
        if repeated:
            raise serializers.ValidationError(_by_line(items, repeated))
        return items

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse an order that could not be confirmed, rather than fail to send the e-mail later."""
        try:
            deliverable(self.context["request"].user.email)
        except InvalidValue as error:
            raise serializers.ValidationError(NO_EMAIL_ADDRESS) from error
        return attrs

    def create(self, validated_data: dict[str, Any]) -> Order:
        items = validated_data.pop("lines")
        quantities = {item["sku"]: item["quantity"] for item in items}
        try:
            return Order.objects.place(quantities=quantities, **validated_data)
        except OrderRefusedError as refusal:
            raise serializers.ValidationError({"items": _by_line(items, refusal.reasons)}) from refusal


def _by_line(items: list[dict[str, Any]], reasons: dict[str, str]) -> dict[str, dict[str, list[str]]]:
    """Return `reasons` by the position of their line in the request, as REST framework arranges its own errors."""
    return {
        str(position): {"product": [reasons[item["sku"]]]}
        for position, item in enumerate(items)
        if item["sku"] in reasons
    }


class NoteSerializer(StrictFields, serializers.ModelSerializer[Order]):
    """The note: the only part of an order that its customer may change."""

    serializer_field_mapping = FIELDS_OF_COLUMNS

    class Meta:
        model = Order
        fields = ["note"]
        extra_kwargs = {"note": {"required": True}}


class CancellationSerializer(StrictFields, serializers.Serializer[Order]):
    reason = Text(max_length=500, required=False, allow_blank=True, help_text="Is kept, and sent to the customer.")


class NothingSerializer(StrictFields, serializers.Serializer[Order]):
    """The empty body of a request whose address says everything."""


class OrderEventSerializer(serializers.ModelSerializer[OrderEvent]):
    """One entry of an order's timeline."""

    by = serializers.ChoiceField(source="by_role", choices=OrderEvent.Role.choices, read_only=True)
    username = serializers.SerializerMethodField(help_text="The user who did it. Only staff see the names of staff.")

    class Meta:
        model = OrderEvent
        fields = ["at", "kind", "by", "username", "detail"]

    def get_username(self, event: OrderEvent) -> str | None:
        named = event.by_role == OrderEvent.Role.CUSTOMER or self.context["request"].user.is_staff
        return event.by.username if event.by and named else None
