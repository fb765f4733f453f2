"""`manage.py seed_demo` adds a small catalogue, a demo customer and a demo administrator, to try the service with."""

from argparse import ArgumentParser
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from app.api.lasting_tokens import give_token
from orders.models import Product

#: sku, name, description, price, currency, stock
CATALOGUE = [
    ("BEANS-1KG", "Coffee beans, 1 kg", "Medium roast, from three farms in Huila.", "24.90", "EUR", 500),
    ("DRIPPER", "Ceramic dripper", "For one or two cups.", "19.50", "EUR", 120),
    ("FILTERS-100", "Paper filters, 100 pieces", "Unbleached; they fit the dripper.", "4.80", "EUR", 1000),
    ("GRINDER", "Hand grinder", "Steel burrs, 36 settings.", "89.00", "EUR", 40),
    ("KETTLE", "Gooseneck kettle, 0.9 l", "For the stove, induction too.", "54.00", "EUR", 60),
    ("MUG-BLUE", "Mug, blue", "Thrown by hand, 0.3 l. No two are alike.", "16.00", "EUR", 3),
    ("SCALE", "Coffee scale", "0.1 g, with a timer.", "39.90", "EUR", 75),
    ("US-VOUCHER", "Gift voucher", "For the shop in Portland.", "25.00", "USD", 100),
]


class Command(BaseCommand):
    help = (
        "Add a demo catalogue, the customer demo/demo and the staff user admin/admin. "
        "What is already there is left as it is."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--print-token", action="store_true", help="print a new API token of the demo customer and nothing else"
        )

    @transaction.atomic
    def handle(self, *args: Any, print_token: bool, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "seed_demo creates users whose passwords everybody knows, so it runs only where DEBUG is on. "
                "Here it is off: use `manage.py createsuperuser` and the admin instead."
            )
        added = sum(_add_product(*row) for row in CATALOGUE)
        customer = _get_or_create_user("demo", email="demo@example.com", first_name="Dana")
        _get_or_create_user("admin", email="admin@example.com", is_staff=True, is_superuser=True)
        if print_token:
            self.stdout.write(give_token(customer))
        else:
            self.stdout.write(f"Products: {added} added, {Product.objects.count()} in all.")
            self.stdout.write("Users: demo/demo (customer), admin/admin (staff).")


def _add_product(sku: str, name: str, description: str, price: str, currency: str, stock: int) -> bool:
    """Add the product unless its SKU is there already; return whether it was added."""
    _, added = Product.objects.get_or_create(
        sku=sku,
        defaults={
            "name": name,
            "description": description,
            "price": Decimal(price),
            "currency": currency,
            "stock": stock,
        },
    )
    return added


def _get_or_create_user(username: str, **attributes: Any) -> User:
    """Return the user of this name, created with the name as the password if there is none."""
    user, created = User.objects.get_or_create(username=username, defaults=attributes)
    if created:
        user.set_password(username)
        user.save(update_fields=["password"])
    return user
