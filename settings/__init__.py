"""The only room that reads the environment. `load()` turns variables into typed, frozen settings.

It imports nothing of the project and needs no configured Django, so `manage.py config` and Django's own
settings module can both build on it.
"""
