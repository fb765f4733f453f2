"""The parts of the OpenAPI description that serializers and filters do not say themselves."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
)

from orders.serializers import OrderEventSerializer, OrderSerializer, ProductSerializer

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    pattern=r"^[\x20-\x7e]{1,255}$",
    description="Any text of your own, such as a UUID; use a new one for each new order. An order that is sent again "
    "with the same key within 24 hours is placed once, and gets the first answer again.",
)
REPLAYED = OpenApiParameter(
    "Idempotent-Replayed",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=[201],
    enum=["true"],
    description="Set if this is the first answer, repeated.",
)
TWO_PRODUCTS = OpenApiExample(
    "Two products",
    {"items": [{"product": "DRIPPER", "quantity": 1}, {"product": "FILTERS-100", "quantity": 2}]},
    request_only=True,
)
AMOUNT = {"type": "string", "pattern": r"^\d{1,8}(\.\d{1,2})?$"}
SEARCH = {
    "type": "string",
    "maxLength": 200,
    "pattern": r"^[ \t\r\n\f\v]*([^ \t\r\n\f\v]+[ \t\r\n\f\v]+){0,7}[^ \t\r\n\f\v]*[ \t\r\n\f\v]*$",
}
PRODUCT_FILTERS = [
    OpenApiParameter("price_min", AMOUNT, description="This price or more."),
    OpenApiParameter("price_max", AMOUNT, description="This price or less."),
    OpenApiParameter("search", SEARCH, description="Up to 8 words in SKU, name or description."),
]
NOTE = {
    "type": "object",
    "properties": {"note": {"type": "string", "maxLength": 500}},
    "additionalProperties": False,
    "required": ["note"],  # although this is a PATCH: nothing else can be changed
}
ANSWER = OrderSerializer

describe_orders = extend_schema_view(
    list=extend_schema(summary="List orders", description="Your own, the newest first; staff see all."),
    retrieve=extend_schema(summary="Look at an order", description="Includes the state of its confirmation."),
    create=extend_schema(
        summary="Place an order",
        description="Takes the pieces from the stock, all or none, and sends a confirmation by e-mail.",
        parameters=[IDEMPOTENCY_KEY, REPLAYED],
        examples=[TWO_PRODUCTS],
    ),
    partial_update=extend_schema(
        summary="Change the note of an order", request={"application/json": NOTE}, responses=ANSWER
    ),
    cancel=extend_schema(summary="Cancel an order", responses=ANSWER),
    fulfil=extend_schema(summary="Note that the goods have left", request=None, responses=ANSWER),
    resend_confirmation=extend_schema(
        summary="Send the confirmation once more",
        request=None,
        responses={202: OpenApiResponse(ANSWER, "The e-mail is on its way.")},
    ),
    events=extend_schema(summary="Look at the timeline of an order", responses=OrderEventSerializer(many=True)),
)

describe_products = extend_schema_view(
    list=extend_schema(summary="List products", parameters=PRODUCT_FILTERS),
    retrieve=extend_schema(summary="Look at a product"),
    create=extend_schema(summary="Add a product"),
    partial_update=extend_schema(summary="Change a product"),
    destroy=extend_schema(summary="Delete a product that was never ordered"),
    stock=extend_schema(summary="Add to the stock, or take from it", responses=ProductSerializer),
)
