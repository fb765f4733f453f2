"""Products, the orders placed for them, and what happened to each order.

An order is history: it keeps its own copy of each product's name, SKU and price, and neither its customer nor its
products can be deleted from under it.
"""

from orders.models.history import OrderEvent
from orders.models.orders import Order, OrderItem, OrderQuerySet
from orders.models.products import Product
from orders.models.requests import IdempotencyKey

__all__ = ["IdempotencyKey", "Order", "OrderEvent", "OrderItem", "OrderQuerySet", "Product"]
