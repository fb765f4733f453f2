"""Hides secrets from Django's debug page."""

import re

from django.views.debug import SafeExceptionReporterFilter


class NoURLs(SafeExceptionReporterFilter):
    """Hides every setting that may be a URL with a password, in addition to those that Django hides."""

    hidden_settings = re.compile(f"{SafeExceptionReporterFilter.hidden_settings.pattern}|URL|LOCATION|BACKEND", re.I)
