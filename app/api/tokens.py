"""JSON Web Tokens: a short-lived access token, and a refresh token that is good once.

A login makes a family, one row: it names the only refresh token that is good. Renewing is one conditional write of that
row, so of several uses at the same moment one succeeds. Any other use of a token of the family deletes the row: whoever
holds the newest token, its owner or a thief, has to log in again (RFC 9700, 4.14.2). The database keeps no token.
"""

from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.serializers import (
    TokenBlacklistSerializer,
    TokenObtainPairSerializer,
    TokenRefreshSerializer,
)
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import RefreshToken, Token
from rest_framework_simplejwt.utils import datetime_from_epoch, get_md5_hash_password

from app.models import TokenFamily

FAMILY = "family"

VOID = "This token has been used, or its login has ended: log in again."


class FamilyToken(RefreshToken):
    """A refresh token that is good as long as its family's row names it."""

    no_copy_claims = (*RefreshToken.no_copy_claims, FAMILY)  # type: ignore[assignment]  # a tuple of five, says simplejwt

    @classmethod
    def for_user(cls, user: Any) -> "FamilyToken":
        token = Token.for_user.__func__(cls, user)  # type: ignore[attr-defined]  # RefreshToken's keeps the token
        family = TokenFamily.objects.create(
            id=uuid4(), user=user, jti=token["jti"], expires_at=datetime_from_epoch(token["exp"])
        )
        token[FAMILY] = family.id.hex
        return token  # type: ignore[no-any-return]

    def check_blacklist(self) -> None:
        """Ask the old list only about tokens of release 0.1, which have no family."""
        if FAMILY not in self.payload:
            super().check_blacklist()

    def renew(self, user: User) -> "FamilyToken":
        """Return the token that follows this one. Raises InvalidToken if this one is not good any more."""
        if FAMILY not in self.payload:
            # Of two uses at the same moment, one has made the entry.
            entry: Any = self.blacklist()
            if not entry[1]:
                raise InvalidToken(VOID)
            return self.for_user(user)
        token = type(self)(str(self))  # type: ignore[arg-type]
        token.set_jti()
        token.set_exp()
        token.set_iat()
        family, jti = TokenFamily.objects.filter(id=self._family_id), self["jti"]
        if not family.filter(jti=jti).update(jti=token["jti"], expires_at=datetime_from_epoch(token["exp"])):
            family.delete()
            raise InvalidToken(VOID)
        return token

    def end(self) -> None:
        """End the login that this token belongs to."""
        if FAMILY in self.payload:
            TokenFamily.objects.filter(id=self._family_id).delete()
        else:
            self.blacklist()

    @property
    def _family_id(self) -> UUID:
        return UUID(hex=self[FAMILY])


class LoginSerializer(TokenObtainPairSerializer):
    """Returns the first pair of tokens of a login, for a name and a password."""

    token_class = FamilyToken


class RefreshSerializer(TokenRefreshSerializer):
    """Returns a new pair of tokens for a refresh token, which can be used once."""

    token_class = FamilyToken

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        token = self.token_class(attrs["refresh"])
        user = User.objects.filter(pk=token[api_settings.USER_ID_CLAIM], is_active=True).first()
        if user is None:
            raise InvalidToken("The token's user does not exist any more.")
        if token.get(api_settings.REVOKE_TOKEN_CLAIM) != get_md5_hash_password(user.password):
            token.end()
            raise InvalidToken("The password has been changed: log in again.")
        renewed = token.renew(user)
        return {"access": str(renewed.access_token), "refresh": str(renewed)}


class LogoutSerializer(TokenBlacklistSerializer):
    """Makes a refresh token, and those that would have followed it, void."""

    token_class = FamilyToken

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        self.token_class(attrs["refresh"]).end()
        return {}
