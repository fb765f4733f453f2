"""Celery's own integration suite, run against this project's tasks: `make celery-suite`."""
