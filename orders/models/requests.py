"""The kept answers to requests that a client may send again."""

from django.conf import settings
from django.db import models


class IdempotencyKey(models.Model):
    """The answer to a request with an Idempotency-Key. It is written in the transaction of the request."""

    # No index of its own: the unique constraint begins with the user.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    answer = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotencykey_once_per_user")]

    def __str__(self) -> str:
        return self.key
