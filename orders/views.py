"""The HTTP API."""

from django.contrib.auth.models import User
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from orders.idempotency import IdempotentCreateMixin
from orders.models import Order, OrderQuerySet, Product
from orders.pagination import OrderPages, ProductPages
from orders.serializers import OrderSerializer, ProductSerializer
from orders.tasks import send_order_confirmation_email


class CustomerRequest(Request):
    """A request that IsAuthenticated has let pass (for the type checker; Django makes the requests)."""

    user: User


class ProductViewSet(ListModelMixin, GenericViewSet[Product]):
    """What is on sale."""

    queryset = Product.objects.on_sale()
    serializer_class = ProductSerializer
    pagination_class = ProductPages
    permission_classes = [AllowAny]


class OrderViewSet(IdempotentCreateMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet[Order]):
    """Place orders and look at one's own, the newest first. Staff see everybody's."""

    request: CustomerRequest
    serializer_class = OrderSerializer
    pagination_class = OrderPages
    permission_classes = [IsAuthenticated]
    lookup_field = "order_id"

    def get_queryset(self) -> OrderQuerySet:
        return Order.objects.visible_to(self.request.user).prefetch_related("items")

    def perform_create(self, serializer: BaseSerializer[Order]) -> None:
        order = serializer.save(user=self.request.user)
        send_order_confirmation_email.delay(order.order_id, self.request.user.email)
