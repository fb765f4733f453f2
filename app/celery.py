"""The Celery app. `celery -A app worker` and `celery -A app beat` find it here."""

import os

from outbox.app import OutboxCelery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "app.settings")

app = OutboxCelery("app")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
