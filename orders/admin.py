"""The back office. Products can be edited; orders can be looked at, fulfilled and confirmed again, not rewritten."""

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from orders.errors import IllegalMoveError, StockError
from orders.models import Order, OrderEvent, OrderItem, Product
from orders.services import resend_confirmation
from orders.values.money import check_price, money


class ProductForm(forms.ModelForm):
    """A product. The form adds to the stock or takes from it; it never sets the stock.

    Orders take from the stock while the form is open. A form that wrote back the number it was opened with would put
    sold pieces on the shelf again.
    """

    change_stock_by = forms.IntegerField(
        required=False,
        min_value=-1_000_000,
        max_value=1_000_000,
        help_text="Pieces to add to the stock, or, with a minus, to take from it.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if {"price", "currency"} & set(self.changed_data) and {"price", "currency"} <= set(cleaned):
            check_price(cleaned["price"], cleaned["currency"])
        return cleaned

    def clean_change_stock_by(self) -> int:
        change: int = self.cleaned_data["change_stock_by"] or 0
        if self.instance.stock + change < 0:
            raise forms.ValidationError(f"There are only {self.instance.stock} pieces to take from.")
        return change


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    form = ProductForm
    list_display = ["sku", "name", "price_with_currency", "stock", "active"]
    list_filter = ["active", "currency"]
    search_fields = ["sku", "name"]

    @admin.display(description="price", ordering="price")
    def price_with_currency(self, product: Product) -> str:
        return money(product.price, product.currency)

    def get_fields(self, request: HttpRequest, obj: Product | None = None) -> tuple[str, ...]:
        fields = ("sku", "name", "description", "price", "currency", "active", "stock")
        return (*fields, "change_stock_by") if obj else fields

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> tuple[str, ...]:
        return ("sku", "stock") if obj else ()

    def save_model(self, request: HttpRequest, obj: Product, form: forms.ModelForm, change: bool) -> None:
        if not change:
            return super().save_model(request, obj, form, change)
        obj.save(update_fields=["name", "description", "price", "currency", "active"])
        try:
            obj.change_stock(form.cleaned_data["change_stock_by"])
        except StockError as error:
            # Orders took the pieces after the form was opened.
            self.message_user(request, str(error), messages.ERROR)
        return None


class HistoryInline(admin.TabularInline):
    """Rows of an order that cannot be added, changed or deleted here."""

    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return False


class OrderItemInline(HistoryInline):
    model = OrderItem
    verbose_name_plural = "lines"
    fields = readonly_fields = ("sku", "name", "quantity", "unit_price", "line_total")


class OrderEventInline(HistoryInline):
    model = OrderEvent
    verbose_name_plural = "timeline"
    fields = readonly_fields = ("at", "kind", "who", "detail")

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrderEvent]:
        return super().get_queryset(request).select_related("by", "order")

    @admin.display(description="by")
    def who(self, event: OrderEvent) -> str:
        return f"{event.by} ({event.by_role})" if event.by else event.by_role


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["number", "user", "status", "confirmation_state", "total_with_currency", "created_at"]
    list_filter = ["status", "confirmation_state", "currency", "created_at"]
    list_select_related = ["user"]
    search_fields = ["user__username", "user__email", "items__sku"]
    search_help_text = "An order's number or id, a customer's name or e-mail address, or a SKU."
    show_full_result_count = False
    fields = readonly_fields = (
        "number", "order_id", "user", "status", "total_with_currency", "note", "created_at", "updated_at",
        "confirmation_state", "confirmation_attempts", "confirmation_sent_at", "confirmation_task_id",
    )  # fmt: skip
    inlines = [OrderItemInline, OrderEventInline]
    # Cancelling is left to the API: it asks for a reason, and it locks the products of one order at a time.
    actions = ["fulfil", "send_confirmation_again"]

    @admin.display(description="total", ordering="total")
    def total_with_currency(self, order: Order) -> str:
        return money(order.total, order.currency)

    @admin.action(description="Mark the selected orders as fulfilled", permissions=["act"])
    def fulfil(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._for_each(request, orders, Order.fulfil, "fulfilled")

    @admin.action(description="Send the selected orders' confirmation again", permissions=["act"])
    def send_confirmation_again(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._for_each(request, orders, resend_confirmation, "queued")

    def _for_each(self, request: HttpRequest, orders: QuerySet[Order], act: Callable[..., None], done: str) -> None:
        """Do `act` to each order that allows it, and show a message for each that does not."""
        numbers = []
        # Always in the same order: otherwise two people who do this at once could deadlock.
        for order in orders.order_by("pk"):
            try:
                act(order, by=request.user)
                numbers.append(order.number)
            except IllegalMoveError as error:
                self.message_user(request, str(error), messages.ERROR)
        if numbers:
            self.message_user(request, f"{', '.join(numbers)}: {done}.")

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Users who may change orders may do what the status of an order allows; nobody may rewrite an order."""
        return request.user.has_perm("orders.change_order")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        if named := _order_named(search_term.strip()):
            return queryset.filter(**named), False
        return super().get_search_results(request, queryset, search_term)


def _order_named(term: str) -> dict[str, Any]:
    """Return the lookup for an order's number or its id; empty if `term` is neither."""
    if number := re.fullmatch(r"A-(\d{1,18})", term, re.IGNORECASE):
        return {"pk": int(number[1])}
    try:
        return {"order_id": UUID(term)}
    except ValueError:
        return {}
