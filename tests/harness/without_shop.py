"""Settings of a project that has the outbox, the workers and the console, and no shop."""

from app.settings import *  # noqa: F403
from app.settings import INSTALLED_APPS, MIDDLEWARE, TEMPLATES

INSTALLED_APPS = [name for name in INSTALLED_APPS if name not in ("orders", "app")]
MIDDLEWARE = [name for name in MIDDLEWARE if not name.startswith("app.")]
TEMPLATES = [{**TEMPLATES[0], "DIRS": []}]
ROOT_URLCONF = "tests.harness.without_shop_urls"
CONSOLE_PANELS = []
