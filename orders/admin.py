"""The back office: products can be edited, orders are history and can only be looked at."""

import re
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import F, QuerySet
from django.http import HttpRequest

from orders.emails import money
from orders.models import Order, OrderItem, Product


class ProductForm(forms.ModelForm):
    """A product, whose stock is changed by adding to it or taking from it.

    Orders take from the stock while the form is open: a form that wrote back the number it was opened with would
    put sold pieces on the shelf again.
    """

    change_stock_by = forms.IntegerField(
        required=False,
        min_value=-1_000_000,
        max_value=1_000_000,
        help_text="Pieces to add to the stock, or, with a minus, to take from it.",
    )

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
        difference = form.cleaned_data["change_stock_by"]
        enough = Product.objects.filter(pk=obj.pk, stock__gte=-difference)
        if not enough.update(stock=F("stock") + difference):
            message = f"The stock is unchanged: orders have just left fewer than {-difference} pieces."
            self.message_user(request, message, messages.ERROR)
        return None


class OrderItemInline(admin.TabularInline):
    model = OrderItem
    fields = readonly_fields = ("sku", "name", "quantity", "unit_price", "line_total")
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return False


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["number", "user", "status", "total_with_currency", "created_at"]
    list_filter = ["status", "currency", "created_at"]
    list_select_related = ["user"]
    search_fields = ["user__username", "user__email", "items__sku"]
    search_help_text = "An order's number or id, a customer's name or e-mail address, or a SKU."
    show_full_result_count = False
    fields = readonly_fields = (
        "number", "order_id", "user", "status", "total_with_currency", "note", "created_at", "updated_at",
    )  # fmt: skip
    inlines = [OrderItemInline]

    @admin.display(description="total", ordering="total")
    def total_with_currency(self, order: Order) -> str:
        return money(order.total, order.currency)

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
