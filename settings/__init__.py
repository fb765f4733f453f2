"""The only room that reads the environment. `load()` turns variables into typed, frozen settings.

It imports nothing of the project and needs no configured Django, so `manage.py config` and Django's own
settings module can both build on it.
"""

from pathlib import Path

#: The checkout. A relative path in a variable (a SQLite file, a certificate) is relative to it.
PROJECT_ROOT = Path(__file__).resolve().parent.parent
