"""Tokens that do not expire (`Authorization: Token ...`): for a shop's own systems.

The database keeps a digest of each. A token ends with the password it was given for, or when its user deletes it.
"""

import secrets
from hashlib import sha256
from typing import Any

from django.contrib.auth.models import User
from rest_framework.authentication import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed

from app.models import ApiToken

#: Tokens of one user. The oldest makes room for a new one.
MOST_TOKENS = 20


def give_token(user: User) -> str:
    """Return a new token. It is shown this once."""
    token = secrets.token_hex(20)
    kept = ApiToken.objects.filter(user=user).order_by("-created_at").values_list("digest", flat=True)
    ApiToken.objects.filter(digest__in=list(kept[MOST_TOKENS - 1 :])).delete()
    ApiToken.objects.create(digest=digest_of(token), user=user, password_mark=digest_of(user.password))
    return token


def digest_of(text: str) -> str:
    """Return the digest of a token or a password's hash. Both are random, so nothing has to make guessing slow."""
    return sha256(text.encode()).hexdigest()


class LastingTokenAuthentication(TokenAuthentication):
    """REST framework's, with digests."""

    def authenticate_credentials(self, key: str) -> tuple[User, Any]:
        token = ApiToken.objects.select_related("user").filter(digest=digest_of(key)).first()
        if token is None:
            # A token of release 0.1. `migrate app` turns them into digests once no process of that release runs.
            return super().authenticate_credentials(key)
        user = token.user
        if not user.is_active:
            raise AuthenticationFailed("User inactive or deleted.")
        if token.password_mark != digest_of(user.password):
            raise AuthenticationFailed("The password has been changed: get a new token.")
        return user, token
