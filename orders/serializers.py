"""Orders and products as JSON: what a client may send, and what it is shown."""

from collections import Counter
from typing import Any

from django.core.exceptions import ValidationError as InvalidValue
from django.core.validators import validate_email
from rest_framework import serializers

from orders.errors import OrderRefusedError
from orders.models import MAX_LINES, MAX_QUANTITY, Order, OrderItem, Product

NO_EMAIL_ADDRESS = (
    "Your account has no valid e-mail address to send the confirmation to. Have one added to it, then order again."
)


class ProductSerializer(serializers.ModelSerializer[Product]):
    class Meta:
        model = Product
        fields = ["sku", "name", "description", "price", "currency", "stock"]


class OrderItemSerializer(serializers.ModelSerializer[OrderItem]):
    """A line: the client names the product and a quantity, the rest is answered."""

    product = serializers.CharField(source="sku", max_length=40, help_text="The product's SKU.")
    quantity = serializers.IntegerField(min_value=1, max_value=MAX_QUANTITY)
    line_total = serializers.DecimalField(max_digits=16, decimal_places=2, read_only=True)

    class Meta:
        model = OrderItem
        fields = ["product", "name", "unit_price", "quantity", "line_total"]
        read_only_fields = ["name", "unit_price"]


class OrderSerializer(serializers.ModelSerializer[Order]):
    items: serializers.ListSerializer[OrderItem] = serializers.ListSerializer(
        child=OrderItemSerializer(), allow_empty=False, max_length=MAX_LINES
    )

    class Meta:
        model = Order
        fields = [
            "order_id", "number", "status", "currency", "total", "note", "created_at", "updated_at", "items",
        ]  # fmt: skip
        read_only_fields = ["order_id", "number", "status", "currency", "total", "created_at", "updated_at"]

    def validate_items(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Refuse a product that is named twice.

        Adding the lines up would charge for what is more often a client's mistake than a customer's wish.
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
            validate_email(self.context["request"].user.email)
        except InvalidValue as error:
            raise serializers.ValidationError(NO_EMAIL_ADDRESS) from error
        return attrs

    def create(self, validated_data: dict[str, Any]) -> Order:
        items = validated_data.pop("items")
        quantities = {item["sku"]: item["quantity"] for item in items}
        try:
            return Order.objects.place(quantities=quantities, **validated_data)
        except OrderRefusedError as refusal:
            raise serializers.ValidationError({"items": _by_line(items, refusal.reasons)}) from refusal


def _by_line(items: list[dict[str, Any]], reasons: dict[str, str]) -> dict[str, dict[str, list[str]]]:
    """Return `reasons` by the position of their line in the request, as REST framework does with its own."""
    return {
        str(position): {"product": [reasons[item["sku"]]]}
        for position, item in enumerate(items)
        if item["sku"] in reasons
    }
