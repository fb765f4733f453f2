"""`/auth/token/`: get a token that does not expire, and end it."""

from typing import Any

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework.authtoken.models import Token
from rest_framework.authtoken.serializers import AuthTokenSerializer
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.exceptions import AuthenticationFailed, ValidationError
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from app.api.lasting_tokens import give_token
from app.models import ApiToken


class LastingTokenView(ObtainAuthToken):
    def get_permissions(self) -> list[BasePermission]:
        return [IsAuthenticated()] if self.request.method == "DELETE" else []

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = AuthTokenSerializer(data=request.data, context={"request": request})
        try:
            serializer.is_valid(raise_exception=True)
        except ValidationError as error:
            if "authorization" in _codes(error):
                raise AuthenticationFailed("No active account has this name and password.") from error
            raise
        return Response({"token": give_token(serializer.validated_data["user"])})

    @extend_schema(responses={204: None})
    def delete(self, request: Request) -> Response:
        """End the token that the request is made with. With another kind of login: all of the user's tokens."""
        if isinstance(request.auth, ApiToken | Token):
            request.auth.delete()
        else:
            with transaction.atomic():
                ApiToken.objects.filter(user=request.user.pk).delete()
                Token.objects.filter(user=request.user.pk).delete()
        return Response(status=204)


def _codes(error: ValidationError) -> list[str]:
    return [str(each) for each in error.get_codes().get("non_field_errors", [])]  # type: ignore[union-attr]
