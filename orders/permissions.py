"""Who may do what beside customers: Django's permissions of the models, held by staff, as in the back office."""

from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

#: The right that a write of the catalogue needs, by the action of the view; for all others the last one.
CATALOGUE_RIGHTS = {"create": "orders.add_product", "destroy": "orders.delete_product"}
CHANGE_PRODUCT, CHANGE_ORDER = "orders.change_product", "orders.change_order"


def may(user: User | AnonymousUser, right: str) -> bool:
    """Whether the user is of the staff and holds a right. Staff without a right are customers."""
    return user.is_staff and user.has_perm(right)


class CatalogueRights(BasePermission):
    """Everybody may read."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        right = CATALOGUE_RIGHTS.get(getattr(view, "action", None) or "", CHANGE_PRODUCT)
        return request.method in SAFE_METHODS or may(request.user, right)


class OrderRights(BasePermission):
    """Customers may change their own orders; whoever can see those of others may not change them for that."""

    def has_object_permission(self, request: Request, view: APIView, order: Any) -> bool:
        is_own: bool = order.user_id == request.user.pk
        return request.method in SAFE_METHODS or is_own or may(request.user, CHANGE_ORDER)


class ChangesOrders(BasePermission):
    """For what is not a customer's to do, not even with their own order."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return may(request.user, CHANGE_ORDER)
