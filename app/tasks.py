"""Periodic tasks of the service itself."""

import time

from celery import shared_task
from django.core.management import call_command
from django.utils import timezone

from app.models import Throttle, TokenFamily


@shared_task
def forget_expired() -> None:
    """Delete what has expired: counted requests, refresh tokens and sessions."""
    Throttle.objects.filter(ends_at__lt=int(time.time())).delete()
    TokenFamily.objects.filter(expires_at__lt=timezone.now()).delete()
    call_command("flushexpiredtokens")
    call_command("clearsessions")
