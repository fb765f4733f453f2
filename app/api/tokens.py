"""Tokens: REST framework's, and JSON Web Tokens: a short-lived access token, and a refresh token for one use."""

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ObjectDoesNotExist
from rest_framework import authentication
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.serializers import TokenRefreshSerializer

#: As SQL, because each request asks: to build it anew costs Django several times what the answer takes.
_USER_OF = "SELECT u.* FROM auth_user u JOIN authtoken_token t ON t.user_id = u.id WHERE t.key = %s"


class TokenAuthentication(authentication.TokenAuthentication):
    """REST framework's, with a statement that is not built anew for each request."""

    def authenticate_credentials(self, key: str) -> tuple[User, Token]:
        user = next(iter(User.objects.raw(_USER_OF, [key])), None)
        if user is None:
            raise AuthenticationFailed("Invalid token.")
        if not user.is_active:
            raise AuthenticationFailed("User inactive or deleted.")
        return user, Token(key=key, user=user)


class RefreshSerializer(TokenRefreshSerializer):
    """Returns a new pair of tokens for a refresh token, which can be used once."""

    # simplejwt does not expect that the user may have been deleted.

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        try:
            return super().validate(attrs)
        except ObjectDoesNotExist as error:
            raise InvalidToken("The token's user does not exist any more.") from error
