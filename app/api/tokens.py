"""JSON Web Tokens: a short-lived access token, and a refresh token that is good once."""

from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.serializers import TokenRefreshSerializer


class RefreshSerializer(TokenRefreshSerializer):
    """A new pair of tokens for a refresh token, which is good once."""

    # simplejwt does not expect that the user may have been deleted.

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        try:
            return super().validate(attrs)
        except ObjectDoesNotExist as error:
            raise InvalidToken("The token's user does not exist any more.") from error
