"""Products, the orders placed for them, and what happened to each order.

An order is a record: it keeps its own copy of each product's name, SKU and price, and the database does not let its
customer or its products be deleted.
"""

from orders.models.history import OrderEvent
from orders.models.orders import Order, OrderItem, OrderQuerySet
from orders.models.products import Product
from orders.models.requests import IdempotencyKey

__all__ = ["IdempotencyKey", "Order", "OrderEvent", "OrderItem", "OrderQuerySet", "Product"]
