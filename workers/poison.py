"""Keeps what no worker can read: foreign, garbled or unknown messages, once each, for a person to look at."""

import hashlib
import logging

from django.db.models import F
from django.db.models.functions import Now
from kombu.message import Message as BrokerMessage

from outbox.ledger import legible
from outbox.models import PoisonMessage

logger = logging.getLogger(__name__)

#: How much of a body is kept.
KEPT_BYTES = 64 * 1024


def keep(message: BrokerMessage, reason: str) -> None:
    """Store what the broker handed out. Raises `django.db.Error`: then it must not be acknowledged."""
    delivery = message.delivery_info if isinstance(message.delivery_info, dict) else {}
    queue = str(delivery.get("routing_key") or "")
    # What a broker or kombu adds when it delivers the message once more would make another message of it.
    headers = {name: each for name, each in message.headers.items() if name != "redelivered" and str(name)[:2] != "x-"}
    keep_raw(raw_bytes(message.body), reason, queue=queue, headers=repr(headers) if headers else "")


def keep_raw(body: bytes, reason: str, *, queue: str = "", headers: str = "") -> None:
    """Store raw bytes once, however often they arrive. Raises `django.db.Error`."""
    stored, new = PoisonMessage.objects.get_or_create(
        key=hashlib.sha256(b"\0".join([legible(queue).encode(), legible(headers).encode(), body])).hexdigest(),
        defaults={
            "queue": legible(queue)[:80],
            "reason": legible(reason),
            "headers": legible(headers),
            "body": body[:KEPT_BYTES],
            "size": len(body),
        },
    )
    if not new:
        PoisonMessage.objects.filter(pk=stored.pk).update(times=F("times") + 1, last_seen_at=Now())
    logger.error("Kept a message that cannot be read (%s): manage.py outbox poison shows it", ascii(reason))


def raw_bytes(body: object) -> bytes:
    """A body as bytes, whatever the transport made of it."""
    if isinstance(body, bytes):
        return body
    return str(body).encode(errors="surrogatepass") if not isinstance(body, memoryview) else bytes(body)
