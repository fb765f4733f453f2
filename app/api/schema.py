"""The OpenAPI description. drf-spectacular finds routes and bodies; this adds what all routes have in common."""

from typing import Any, Literal

from drf_spectacular.contrib.rest_framework_simplejwt import TokenObtainPairSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers
from rest_framework.permissions import SAFE_METHODS

from app.api.problems import CONTENT_TYPE, problem
from orders.idempotency import IdempotentCreateMixin
from orders.permissions import CatalogueRights
from orders.values.strictness import StrictFields


class ProblemErrorSerializer(serializers.Serializer):
    """One thing that is wrong with a request."""

    pointer = serializers.CharField(required=False, help_text="Where in the body, as a JSON pointer.")
    parameter = serializers.CharField(required=False, help_text="Which query parameter.")
    code = serializers.CharField(help_text="What, for programs.")
    detail = serializers.CharField(help_text="What, for people.")


@extend_schema_serializer(
    component_name="Problem",
    examples=[
        OpenApiExample(
            "An order for too many pieces",
            problem(
                400,
                "The request is not valid: see `errors`.",
                code="invalid",
                errors=[
                    {
                        "pointer": "#/items/0/product",
                        "code": "invalid",
                        "detail": "Only 3 of 'MUG-BLUE' left, 4 asked for.",
                    }
                ],
            ),
            status_codes=["400"],
        ),
    ],
)
class ProblemSerializer(serializers.Serializer):
    """What went wrong (RFC 9457)."""

    type = serializers.CharField()
    title = serializers.CharField(help_text="The status in words.")
    status = serializers.IntegerField(min_value=400, max_value=599)
    code = serializers.CharField(help_text="What went wrong, for programs.")
    detail = serializers.CharField(help_text="What went wrong, for people.")
    # `errors` is also a property of serializers; an answer does not need that one.
    errors = ProblemErrorSerializer(many=True, required=False, help_text="One by one.")  # type: ignore[assignment]


class LoginExtension(TokenObtainPairSerializerExtension):  # type: ignore[no-untyped-call]
    """What drf-spectacular knows of simplejwt's serializer holds for ours."""

    target_class = "app.api.tokens.LoginSerializer"

    def get_name(self, auto_schema: Any, direction: Literal["request", "response"]) -> str:
        return "TokenObtainPair"


#: Summaries of views that are not ours.
SUMMARIES = {
    "/auth/jwt/": "Log in: get an access and a refresh token",
    "/auth/jwt/refresh/": "Get new tokens for a refresh token, which is good once",
    "/auth/jwt/revoke/": "Log out: make a refresh token void",
    "/auth/token/": "Get a token that does not expire",
    "DELETE /auth/token/": "End the token that the request is made with",
}

#: When each status is answered.
PROBLEMS = {
    "400": "The body or a parameter is malformed or not valid: `errors` says where.",
    "401": "No valid credentials.",
    "403": "You lack the right to do this, or the session's CSRF token is missing.",
    "404": "It does not exist, or is not yours.",
    "406": "Only `application/json` is answered, and pages to browsers.",
    "409": "The state of things does not allow it.",
    "413": "The body is larger than 1 MiB.",
    "414": "The address is longer than 8,190 characters.",
    "415": "The body is not `application/json`.",
    "422": "The `Idempotency-Key` was used for another request.",
    "429": "Too many requests: `Retry-After` says when to come back.",
    "503": "The database does not answer: `Retry-After` says when to come back.",
}


class ServiceSchema(AutoSchema):
    """Adds the problems that any request like this one may be answered with, unless the view documents its own."""

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> Any:
        responses = super()._get_response_bodies(direction)
        for status in self._problems():
            if status not in responses:
                body = self._get_response_for_code(ProblemSerializer, status, media_types=[CONTENT_TYPE])  # type: ignore[no-untyped-call]
                responses[status] = body | {"description": PROBLEMS[status]}
        return dict(sorted(responses.items()))

    def _get_request_body(self, direction: Literal["request", "response"] = "request") -> Any:
        body = super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        if body and any(media.get("schema", {}).get("required") for media in body["content"].values()):
            body["required"] = True
        return body

    def _map_serializer(self, serializer: Any, direction: str, bypass_extensions: bool = False) -> Any:
        schema = super()._map_serializer(serializer, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        if direction == "request" and isinstance(serializer, StrictFields) and schema:
            schema["additionalProperties"] = False
        return schema

    def _map_serializer_field(self, field: Any, direction: str, bypass_extensions: bool = False) -> Any:
        schema = super()._map_serializer_field(field, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        if isinstance(field, serializers.ListSerializer) and schema:
            bounds = {"minItems": None if field.allow_empty else 1, "maxItems": getattr(field, "max_length", None)}
            schema |= {name: bound for name, bound in bounds.items() if bound is not None}
        if direction == "request" and schema and _needs_more_than_spaces(field):
            # Python strips four control characters as spaces; regular expressions do not count them as spaces.
            schema.setdefault("pattern", r"[^\s\x1c-\x1f]")
        if isinstance(field, serializers.DecimalField) and field.max_digits and field.decimal_places:
            # No amount is below zero, and an empty text is no amount.
            whole = field.max_digits - field.decimal_places
            schema["pattern"] = rf"^\d{{1,{whole}}}(\.\d{{1,{field.decimal_places}}})?$"
        return schema

    def _get_parameters(self) -> Any:
        parameters = super()._get_parameters()
        for parameter in parameters:
            # An empty filter is ignored: forms of browsers send all their fields.
            may_be_empty = (
                parameter["name"] not in ("cursor", "page_size") and parameter["schema"].get("type") != "array"
            )
            if parameter["in"] == "query" and may_be_empty:
                parameter["allowEmptyValue"] = True
        return parameters

    def get_summary(self) -> str | None:
        summary: str | None = (
            SUMMARIES.get(f"{self.method} {self.path}") or SUMMARIES.get(self.path) or super().get_summary()
        )
        return summary

    def get_auth(self) -> Any:
        may_be_anonymous = any(isinstance(each, CatalogueRights) for each in self.view.get_permissions())
        return [*super().get_auth(), *([{}] if may_be_anonymous and self.method in SAFE_METHODS else [])]

    def _problems(self) -> list[str]:
        writes = self.method not in SAFE_METHODS
        found = ["400", "401", "406", "414", "429", "503"]
        if writes:
            found += ["413", "415"]
        if isinstance(self.view, IdempotentCreateMixin) and getattr(self.view, "action", None) == "create":
            found.append("422")
        if writes and self.view.get_authenticators():
            found += ["403", "409"]
        if "{" in self.path or self._is_list_view():
            found.append("404")
        return found


def _needs_more_than_spaces(field: Any) -> bool:
    return isinstance(field, serializers.CharField) and field.trim_whitespace and not field.allow_blank
