"""The service: Django's settings, the Celery app, and how both are run."""

from app.celery import app as celery_app

__all__ = ["celery_app"]
