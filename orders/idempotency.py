"""`Idempotency-Key`: a client may repeat a POST whose answer was lost; it has no second effect.

The contract is the same as Stripe's (https://docs.stripe.com/api/idempotent_requests):

    first request                        carried out; its answer is kept for 24 hours
    same key, same body                  the kept answer, with `Idempotent-Replayed: true`
    same key, another body               422
    same key, first one still running    409 (on SQLite, where writers queue, it waits and gets the kept answer)
    first one was refused or failed      carried out as if it were the first: no answer was kept

The key is written in the same transaction as the order: both are kept, or neither.
"""

import hashlib
import json
import re
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.exceptions import APIException, ParseError
from rest_framework.mixins import CreateModelMixin
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from orders.models import IdempotencyKey

#: How long an answer is kept: longer than any client goes on trying.
KEEP = timedelta(hours=24)

REPLAYED = {"Idempotent-Replayed": "true"}

#: Rows deleted by one statement; few, so that its locks do not make other requests wait.
PRUNE_CHUNK = 1000

_KEY = re.compile(r"[\x20-\x7e]{1,255}")


class IdempotencyKeyInUseError(APIException):
    """Raised while the first request with this key is still running."""

    status_code = 409
    default_code = "idempotency_key_in_use"
    default_detail = "The first request with this Idempotency-Key is still running: send this one again in a second."
    wait = 1  # the answer's Retry-After


class IdempotencyKeyReusedError(APIException):
    """Raised when the key was used for another request before."""

    status_code = 422
    default_code = "idempotency_key_reused"
    default_detail = "This Idempotency-Key was used for another request: take a new key for each new order."


class IdempotentCreateMixin(CreateModelMixin):
    """`create` with the Idempotency-Key header. Without the header, every request counts as a new one."""

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return super().create(request, *args, **kwargs)
        if not _KEY.fullmatch(key):
            raise ParseError("Idempotency-Key must have 1 to 255 printable ASCII characters.")
        # ATOMIC_REQUESTS has already begun the transaction, and this joins it. Outside of one, the lock would not hold.
        with transaction.atomic(savepoint=False):
            return self._create_once(request, key, *args, **kwargs)

    def _create_once(self, request: Request, key: str, *args: Any, **kwargs: Any) -> Response:
        user, fingerprint = _user_of(request), _fingerprint(request)
        _lock(user, key)
        if known := IdempotencyKey.objects.filter(user=user, key=key).first():
            if known.created_at > timezone.now() - KEEP:
                return self._replay(known, fingerprint)
            known.delete()
        response = super().create(request, *args, **kwargs)
        answer = json.loads(JSONRenderer().render(response.data))
        IdempotencyKey.objects.create(user=user, key=key, fingerprint=fingerprint, answer=answer)
        return response

    def _replay(self, known: IdempotencyKey, fingerprint: str) -> Response:
        if known.fingerprint != fingerprint:
            raise IdempotencyKeyReusedError
        return Response(known.answer, status=201, headers=REPLAYED | self.get_success_headers(known.answer))


def _user_of(request: Request) -> User:
    user = request.user
    assert isinstance(user, User), "the view lets authenticated users pass only"  # noqa: S101
    return user


def _fingerprint(request: Request) -> str:
    """Return a hash that is the same for the same request, whatever the spacing and order of its JSON."""
    body = json.dumps(request.data, sort_keys=True)
    return hashlib.sha256(f"{request.method} {request.path}\n{body}".encode()).hexdigest()


def _lock(user: User, key: str) -> None:
    """Lock this key until the transaction ends. Raises IdempotencyKeyInUseError if another request holds the lock.

    The row of a running request is not visible to others yet, and inserting the same row would make them wait. SQLite
    needs no lock: it lets one transaction write at a time.
    """
    if connection.vendor != "postgresql":
        return
    number = int.from_bytes(hashlib.sha256(f"{user.pk} {key}".encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        (locked,) = cursor.fetchone()
    if not locked:
        raise IdempotencyKeyInUseError


def prune_keys() -> int:
    """Delete the answers that are older than KEEP, in chunks. Return how many."""
    old = IdempotencyKey.objects.filter(created_at__lte=timezone.now() - KEEP).values_list("pk", flat=True)
    total = 0
    while chunk := list(old[:PRUNE_CHUNK]):
        total += IdempotencyKey.objects.filter(pk__in=chunk).delete()[0]
    return total
