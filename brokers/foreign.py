"""Items in a queue that are no messages of kombu's. Each becomes the body of a message, so that a worker can keep it.

kombu expects that it has written every item itself. On Redis it takes a foreign item off the queue and then fails: the
item is lost, and the worker ends (redis.py, `_brpop_read`). On SQS the worker ends, and again after each restart
(SQS/__init__.py, `_message_to_python`).
"""

from base64 import b64encode
from typing import Any, Final
from uuid import uuid4

from kombu.transport import virtual

#: No worker accepts this type of content as a task.
CONTENT: Final = {"content-type": "application/octet-stream", "content-encoding": "binary"}


def is_message(item: Any, channel: Any) -> bool:
    """Whether kombu can make a message of a decoded `item` and acknowledge it."""
    try:
        message: Any = virtual.Message(item, channel=channel)
        delivered_by = message.delivery_info["exchange"], message.delivery_info["routing_key"], message.delivery_tag
    except Exception:  # it may be anything
        return False
    return isinstance(message.body, bytes) and all(isinstance(each, str) for each in delivered_by)


def as_message(item: bytes, queue: str, **properties: Any) -> dict[str, Any]:
    """Return a message, in kombu's form, whose body is `item`."""
    delivered_by = {"exchange": "", "routing_key": queue}
    return {
        **CONTENT,
        "body": b64encode(item).decode(),
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
            "delivery_info": delivered_by,
            **properties,
        },
    }
