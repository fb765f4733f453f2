"""The service's settings, and what only tests need: tasks, and an address at which to enqueue them."""

from app.settings import *  # noqa: F403
from app.settings import BROKER_PROFILE, CELERY_BEAT_SCHEDULE, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.harness.trouble", "tests.harness.errands"]
ROOT_URLCONF = "tests.harness.urls"

if BROKER_PROFILE.name == "sqs":
    from brokers.sqs.mended import PatientSQSChannel

    # A tenth of production's, as the windows in site.py are.
    PatientSQSChannel.longest_pause_seconds = 0.8

# What a test enqueues may be large.
DATA_UPLOAD_MAX_MEMORY_SIZE = None

CELERY_BEAT_SCHEDULE = {**CELERY_BEAT_SCHEDULE, "tick": {"task": "tests.harness.trouble.tasks.tick", "schedule": 1.0}}
