"""JSON Web Tokens: a short-lived access token, and a refresh token that can be used once."""

from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.serializers import TokenRefreshSerializer


class RefreshSerializer(TokenRefreshSerializer):
    """Returns a new pair of tokens for a refresh token, which can be used once."""

    # simplejwt does not expect that the user may have been deleted.

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        try:
            return super().validate(attrs)
        except ObjectDoesNotExist as error:
            raise InvalidToken("The token's user does not exist any more.") from error
