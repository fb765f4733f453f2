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

logger = logging.getLogger(__name__)


class Panel(Protocol):
    """One section of the console."""

    name: ClassVar[str]
    """The id of the section: `/console/#orders` leads to it. The console's own are in `live.html`."""

    title: ClassVar[str]
    template: ClassVar[str]

    def context(self, time: datetime) -> Mapping[str, Any]:
        """What the template is given; `time` is now, by the database's clock.

        It should be cheap: while people watch, each web process asks about once a second.
        """


def render_panels(time: datetime) -> Iterator[dict[str, str]]:
    """Yield `name`, title and content of each panel. One that fails says so, and the page shows the others."""
    for path in getattr(settings, "CONSOLE_PANELS", ()):
        yield _render(path, time)


def _render(path: str, time: datetime) -> dict[str, str]:
    # For a panel that cannot tell what it is called.
    shown = {"name": path.replace(".", "-"), "title": path.rpartition(".")[2]}
    try:
        panel = _make(path)
        shown = {"name": panel.name, "title": panel.title}
        return {**shown, "html": render_to_string(panel.template, dict(panel.context(time)))}
    except Exception as error:  # it is not the console's code
        logger.exception("The panel %s of the console failed", path)
        problem = "This panel failed ({}). The log of web says more."
        return {**shown, "html": format_html('<p class="empty">{}</p>', problem.format(type(error).__name__))}


@cache
def _make(path: str) -> Panel:
    panel: Panel = import_string(path)()
    return panel
