"""Structured logs: JSON in production, lines for people in development.

Every line about an order has `request_id`, `user_id`, `order_id` and `message_id`, as far as they are known.
`log_context.py` carries them from process to process.
"""

import logging
import re
import sys
from logging.handlers import WatchedFileHandler
from typing import Any

import structlog
from structlog.contextvars import merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

#: The name of an e-mail address, before the @. All but its first character is masked.
EMAIL = re.compile(r"([A-Za-z0-9])[A-Za-z0-9._%+-]*(?=@[A-Za-z0-9-]+\.[A-Za-z])")


def mask_emails(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Mask e-mail addresses anywhere in a line: `demo@example.com` becomes `d***@example.com`."""
    for name, value in event.items():
        if isinstance(value, str) and "@" in value:
            event[name] = EMAIL.sub(r"\1***", value)
    return event


def name_message(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add `message_id` to Celery's own lines, which have it in an attribute of the record."""
    data = getattr(event.get("_record"), "data", None)
    if isinstance(data, dict) and "id" in data:
        event.setdefault("message_id", data["id"])
    return event


#: The steps for every line, of ours or of a library.
COMMON: list[Processor] = [
    merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    name_message,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def renderers(*, as_json: bool) -> list[Processor]:
    """Return the last steps: format exceptions, mask addresses, make one line."""
    if as_json:
        return [structlog.processors.format_exc_info, mask_emails, structlog.processors.JSONRenderer(default=str)]
    traceback = structlog.dev.plain_traceback
    pretty = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=traceback, pad_event_to=0)
    return [structlog.processors.format_exc_info, mask_emails, pretty]


def write_to(file: str) -> None:
    """Let what is logged from now on go to a file instead; one that logrotate may move away."""
    root = logging.getLogger()
    handler = WatchedFileHandler(file, encoding="utf-8")
    if root.handlers:
        handler.setFormatter(root.handlers[0].formatter)
    root.handlers = [handler]


def configure(*, as_json: bool, level: str) -> dict[str, Any]:
    """Configure structlog, and return Django's LOGGING. Both write the same lines to stderr."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *COMMON,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [*COMMON, structlog.stdlib.ExtraAdder(allow=[])],
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers(as_json=as_json)],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        # botocore logs each time that it has found credentials.
        "loggers": {"botocore.credentials": {"level": "WARNING"}},
    }
