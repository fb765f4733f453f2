"""The tables of the service itself."""

from django.db import models


class Throttle(models.Model):
    """How many requests a user or an address has made in the minute that ends at `ends_at` (seconds since 1970)."""

    key = models.CharField(max_length=120, primary_key=True)
    hits = models.IntegerField()
    ends_at = models.BigIntegerField(db_index=True)

    def __str__(self) -> str:
        return self.key
