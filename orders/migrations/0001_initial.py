import uuid

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

CURRENCY = django.core.validators.RegexValidator(
    r"\A[A-Z]{3}\Z", "A currency is a three-letter ISO 4217 code such as EUR."
)
SKU = django.core.validators.RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z", "A SKU is made of letters, digits, dots, dashes and underscores."
)


class Migration(migrations.Migration):
    initial = True

    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="Product",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sku", models.CharField("SKU", max_length=40, unique=True, validators=[SKU])),
                ("name", models.CharField(max_length=200)),
                ("description", models.TextField(blank=True)),
                ("price", models.DecimalField(decimal_places=2, max_digits=10)),
                ("currency", models.CharField(default="EUR", max_length=3, validators=[CURRENCY])),
                ("stock", models.IntegerField(default=0, help_text="Pieces that can be sold.")),
                (
                    "active",
                    models.BooleanField(
                        default=True, help_text="Inactive products are neither shown nor sold."
                    ),
                ),
            ],
            options={
                "ordering": ["sku"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(price__gte=0),
                        name="product_price_not_negative",
                        violation_error_message="A price cannot be negative.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(stock__gte=0),
                        name="product_stock_not_negative",
                        violation_error_message="A stock cannot be negative.",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("order_id", models.UUIDField("order id", default=uuid.uuid4, editable=False, unique=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("placed", "Placed"),
                            ("confirmed", "Confirmed"),
                            ("fulfilled", "Fulfilled"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="placed",
                        max_length=20,
                    ),
                ),
                ("currency", models.CharField(max_length=3, validators=[CURRENCY])),
                ("total", models.DecimalField(decimal_places=2, max_digits=16)),
                ("note", models.TextField(blank=True, default="", max_length=500)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="orders",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at", "-id"],
                "indexes": [
                    models.Index(fields=["user", "-created_at", "-id"], name="order_of_user_newest"),
                    models.Index(fields=["-created_at", "-id"], name="order_newest"),
                ],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(total__gte=0), name="order_total_not_negative")
                ],
            },
        ),
        migrations.CreateModel(
            name="OrderItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sku", models.CharField("SKU", max_length=40)),
                ("name", models.CharField(max_length=200)),
                ("unit_price", models.DecimalField(decimal_places=2, max_digits=10)),
                ("quantity", models.IntegerField()),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="items",
                        to="orders.order",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="orders.product"
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["order", "product"], name="orderitem_one_line_per_product"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(quantity__gt=0), name="orderitem_quantity_positive"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(unit_price__gte=0), name="orderitem_price_not_negative"
                    ),
                ],
            },
        ),
    ]
