"""Registers what Celery's suite registers with its worker's app."""

from celery import current_app
from t.integration.tasks import ClassBasedAutoRetryTask  # type: ignore[import-not-found]

current_app.register_task(ClassBasedAutoRetryTask)
