"""What a project adds to the console about its own business.

    CONSOLE_PANELS = ["shop.panels.LatestOrders"]

Each name is a class with what `Panel` lists. It is made once, and asked whenever the page is read anew.
"""

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Protocol

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.module_loading import import_string
from django.utils.text import slugify

logger = logging.getLogger(__name__)


class Panel(Protocol):
    """One section of the console."""

    title: ClassVar[str]
    template: ClassVar[str]

    def context(self, time: datetime) -> Mapping[str, Any]:
        """What the template is given; `time` is now, by the database's clock. Cheap: asked once a second at most."""


def render_panels(time: datetime) -> Iterator[dict[str, str]]:
    """Yield `id`, title and content of each panel. One that fails says so, and the page shows the others."""
    for panel in _panels(tuple(getattr(settings, "CONSOLE_PANELS", ()))):
        yield {"id": slugify(panel.title), "title": panel.title, "html": _render(panel, time)}


def _render(panel: Panel, time: datetime) -> str:
    try:
        return render_to_string(panel.template, dict(panel.context(time)))
    except Exception as error:  # it is not the console's code
        logger.exception("The panel %r of the console failed", panel.title)
        problem = "This panel failed ({}). The log of web says more."
        return format_html('<p class="empty">{}</p>', problem.format(type(error).__name__))


@cache
def _panels(names: tuple[str, ...]) -> list[Panel]:
    return [import_string(name)() for name in names]
