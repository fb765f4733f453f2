"""What Django's debug page must not show."""

import re

from django.views.debug import SafeExceptionReporterFilter


class NoURLs(SafeExceptionReporterFilter):
    """Hides every setting that may be a URL with a password, beside those that Django hides."""

    hidden_settings = re.compile(f"{SafeExceptionReporterFilter.hidden_settings.pattern}|URL|LOCATION|BACKEND", re.I)
