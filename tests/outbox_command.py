"""`manage.py outbox`, run in the test's own process."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command


def outbox(*arguments: object) -> str:
    """Run the command and return what it says."""
    out = io.StringIO()
    call_command("outbox", *map(str, arguments), stdout=out, stderr=io.StringIO(), no_color=True)
    return out.getvalue()


def outbox_json(*arguments: object) -> Any:
    return json.loads(outbox(*arguments, "--json"))


def refusal(*arguments: object) -> str:
    """Run the command, which must fail; return its error."""
    with pytest.raises(CommandError) as caught:
        outbox(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)
