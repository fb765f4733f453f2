"""The tables of the service itself."""

from django.conf import settings
from django.db import models


class Throttle(models.Model):
    """How many requests a user or an address has made in the minute that ends at `ends_at` (seconds since 1970)."""

    key = models.CharField(max_length=120, primary_key=True)
    hits = models.IntegerField()
    ends_at = models.BigIntegerField(db_index=True)

    def __str__(self) -> str:
        return self.key


class ApiToken(models.Model):
    """A token for the API that does not expire. What opens the API is not kept, only its digest."""

    digest = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    #: A digest of the password's hash at the time. Another password makes the token void.
    password_mark = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"API token {self.digest[:8]}"


class TokenFamily(models.Model):
    """A login by JWT: the refresh tokens that follow each other. Only the one with the id `jti` is good."""

    id = models.UUIDField(primary_key=True, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="token_families")
    jti = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "token families"

    def __str__(self) -> str:
        return f"login {str(self.id)[-8:]}"
