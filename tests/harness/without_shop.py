"""Settings of a project that has the outbox, the workers and the console, and no shop."""

from app.settings import *  # noqa: F403
from app.settings import CELERY_BEAT_SCHEDULE, INSTALLED_APPS, MIDDLEWARE, TEMPLATES

INSTALLED_APPS = [name for name in INSTALLED_APPS if name not in ("orders", "app")]
MIDDLEWARE = [name for name in MIDDLEWARE if not name.startswith("app.")]
TEMPLATES = [{**TEMPLATES[0], "DIRS": []}]
ROOT_URLCONF = "tests.harness.without_shop_urls"
CELERY_BEAT_SCHEDULE = {"prune-outbox": CELERY_BEAT_SCHEDULE["prune-outbox"]}
# As in a project that has not heard of them.
del CONSOLE_PANELS, SITE_NAME  # noqa: F821
