"""The HTTP API."""

from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import APIException
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.permissions import SAFE_METHODS, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.serializers import BaseSerializer
from rest_framework.settings import api_settings
from rest_framework.viewsets import GenericViewSet, ModelViewSet
from structlog.contextvars import bind_contextvars
from uuid_utils.compat import uuid7

from orders import services
from orders.documentation import describe_orders, describe_products
from orders.errors import ConflictError
from orders.filters import OrderFilter, ProductFilter
from orders.idempotency import IdempotentCreateMixin
from orders.models import Order, OrderEvent, OrderQuerySet, Product
from orders.pagination import KeysetPages
from orders.permissions import CatalogueRights, ChangesOrders, OrderRights
from orders.serializers import (
    CancellationSerializer,
    NoteSerializer,
    NothingSerializer,
    OrderEventSerializer,
    OrderSerializer,
    ProductSerializer,
    StockChangeSerializer,
)
from orders.tasks import send_order_confirmation_email
from orders.values.strictness import refuse_unknown

#: For what staff do with an order.
CHANGES_ORDERS = [IsAuthenticated, ChangesOrders]


class CustomerRequest(Request):
    """A request with a user who is logged in. Only for the type checker: Django makes the requests."""

    user: User


class HttpConflictError(APIException):
    """409: the present state does not allow the change."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class ShopViewSet(GenericViewSet):
    """What the viewsets of the shop have in common."""

    pagination_class = KeysetPages
    #: The name of the address of one of them.
    address_name: str

    def handle_exception(self, exc: Exception) -> Response:
        """Answer 409 with the reason when the business refuses."""
        return super().handle_exception(HttpConflictError(str(exc)) if isinstance(exc, ConflictError) else exc)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in SAFE_METHODS:
            refuse_unknown(request.query_params, self._known_parameters(), "parameter")

    def _known_parameters(self) -> set[str]:
        known = {str(api_settings.URL_FORMAT_OVERRIDE)}
        if self.action in ("list", "events"):
            known |= {KeysetPages.page_size_query_param, KeysetPages.cursor_query_param}
        if self.action == "list" and (filters := getattr(self, "filterset_class", None)):
            known |= set(filters.base_filters)
        return known

    def get_success_headers(self, data: Any) -> dict[str, str]:
        """Say where what was created is."""
        return {"Location": reverse(self.address_name, args=[data[self.lookup_field]])}

    def validated(self, request: Request) -> dict[str, Any]:
        """Return what the client sent to an action. Raises ValidationError, which is answered with 400."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


@describe_products
class ProductViewSet(ShopViewSet, ModelViewSet[Product]):
    """Products on sale. Staff with the right also see archived products, and change products."""

    serializer_class = ProductSerializer
    address_name = "product-detail"
    permission_classes = [CatalogueRights]
    filterset_class = ProductFilter
    lookup_field = "sku"
    lookup_value_regex = "[A-Za-z0-9][A-Za-z0-9._-]*"
    # No PUT: a product is never replaced as a whole, for its SKU and stock cannot be set.
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]

    def get_queryset(self) -> QuerySet[Product]:
        products = Product.objects.visible_to(self.request.user)
        # Changing a product waits until another change has ended. If that deleted the product, the answer is 404.
        return products if self.request.method in SAFE_METHODS else products.locked()

    def perform_destroy(self, product: Product) -> None:
        product.delete_unsold()

    @action(detail=True, methods=["post"], serializer_class=StockChangeSerializer)
    def stock(self, request: Request, sku: str) -> Response:
        """Add pieces to the stock, or take pieces from it."""
        product = self.get_object()
        product.change_stock(**self.validated(request))
        return Response(ProductSerializer(product).data)


@describe_orders
class OrderViewSet(ShopViewSet, IdempotentCreateMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet[Order]):
    """Place orders and look at your own, the newest first. Staff with the right see all orders."""

    request: CustomerRequest
    serializer_class = OrderSerializer
    address_name = "order-detail"
    permission_classes = [IsAuthenticated, OrderRights]
    filterset_class = OrderFilter
    lookup_field = "order_id"
    http_method_names = ["get", "post", "patch", "head", "options"]
    throttle_limits = {"create": "orders"}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # These values are in every line of the log, here and in the worker that sends the e-mail.
        bind_contextvars(user_id=request.user.pk, **{name: str(value) for name, value in kwargs.items()})

    def get_queryset(self) -> OrderQuerySet:
        return Order.objects.visible_to(self.request.user).with_lines()

    def get_serializer_class(self) -> type[BaseSerializer[Order]]:
        return NoteSerializer if self.action == "partial_update" else super().get_serializer_class()

    def perform_create(self, serializer: BaseSerializer[Order]) -> None:
        # The id of the task is written with the order, and the task is enqueued under it in the same transaction. It is
        # ordered by time, so that new rows lie side by side in the indexes.
        task_id = uuid7()
        order = serializer.save(user=self.request.user, confirmation_task_id=task_id)
        bind_contextvars(order_id=str(order.order_id))
        arguments = (order.order_id, self.request.user.email)
        send_order_confirmation_email.apply_async(arguments, task_id=str(task_id))

    def partial_update(self, request: CustomerRequest, order_id: str) -> Response:
        """Change the note. Possible only while the order is placed, not yet confirmed."""
        order = self.get_object()
        order.change_note(self.validated(request)["note"], by=request.user)
        return self._answer(order)

    @action(detail=True, methods=["post"], serializer_class=CancellationSerializer)
    def cancel(self, request: CustomerRequest, order_id: str) -> Response:
        """Cancel a placed or confirmed order. Its pieces go back into the stock, and its customer gets an e-mail."""
        order = self.get_object()
        services.cancel_order(order, by=request.user, **self.validated(request))
        return self._answer(order)

    @action(
        detail=True,
        methods=["post"],
        serializer_class=NothingSerializer,
        permission_classes=CHANGES_ORDERS,
    )
    def fulfil(self, request: CustomerRequest, order_id: str) -> Response:
        """Note that the goods of a confirmed order have left. Staff only."""
        order = self.get_object()
        self.validated(request)
        order.fulfil(by=request.user)
        return self._answer(order)

    @action(
        detail=True,
        methods=["post"],
        url_path="resend-confirmation",
        serializer_class=NothingSerializer,
        permission_classes=CHANGES_ORDERS,
    )
    def resend_confirmation(self, request: CustomerRequest, order_id: str) -> Response:
        """Send the confirmation once more, to the address that the customer has now. Staff only."""
        order = self.get_object()
        self.validated(request)
        services.resend_confirmation(order, by=request.user)
        return self._answer(order, status.HTTP_202_ACCEPTED)

    @action(detail=True, serializer_class=OrderEventSerializer, filterset_class=None)
    def events(self, request: CustomerRequest, order_id: str) -> Response:
        """List what happened to an order, when, and who did it; the oldest entry first."""
        events = OrderEvent.objects.filter(order=self.get_object()).select_related("order", "by")
        return self.get_paginated_response(self.get_serializer(self.paginate_queryset(events), many=True).data)

    def _answer(self, order: Order, status_code: int = status.HTTP_200_OK) -> Response:
        """Show the order as it is now."""
        fresh = self.get_queryset().get(pk=order.pk)
        return Response(OrderSerializer(fresh, context=self.get_serializer_context()).data, status_code)
