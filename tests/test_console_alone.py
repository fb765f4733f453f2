"""The console, the outbox and its commands in a project that has no shop."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.first_run.processes import find_free_port
from settings import PROJECT_ROOT
from tests.harness.environment import child_environment

#: Writes a message of each kind, asks for each page as an administrator and as a guest, and says what was loaded.
SCRIPT = """
import json, sys, time
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from outbox import ledger
from outbox.models import PoisonMessage

call_command("migrate", verbosity=0)
id = ledger.enqueue("their.task", [], {}, queue="default")
PoisonMessage.objects.create(key="k", reason="their reason", queue="default", body=b"x", size=1)

def pages_of(user, *addresses):
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)
    answers = {address: client.get(address) for address in addresses}
    return {address: (answer.status_code, answer.content.decode()) for address, answer in answers.items()}

boss = User.objects.create_superuser("boss")
pages = pages_of(boss, "/console/", "/console/updates/", "/admin/", "/admin/outbox/message/",
    f"/admin/outbox/message/{id}/change/", "/admin/outbox/poisonmessage/", "/admin/outbox/heartbeat/")
refused = pages_of(User.objects.create_user("guest"), "/console/")
call_command("outbox", "status", stdout=sys.stderr)
# The console asks the broker in the background.
deadline = time.monotonic() + 30
while "are accepted all the same" not in pages["/console/"][1] and time.monotonic() < deadline:
    time.sleep(0.1)
    pages |= pages_of(boss, "/console/")
shop = [name for name in sys.modules if name.startswith("orders")]
print(json.dumps({"pages": pages, "refused": refused["/console/"], "shop": shop}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """That of a project without a shop, and with a broker that is away."""
    home: Path = tmp_path_factory.mktemp("without_shop")
    return child_environment(
        home,
        DATABASE_URL=f"sqlite:///{home / 'db.sqlite3'}",
        REDIS_URL=f"redis://127.0.0.1:{find_free_port()}/0",
        DJANGO_SETTINGS_MODULE="tests.harness.without_shop",
    )


def run(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(environment: dict[str, str]) -> dict[str, Any]:
    """What the script says."""
    told: dict[str, Any] = json.loads(run(environment, "-c", SCRIPT).splitlines()[-1])
    return told


def test_console_and_admin_answer_without_the_shop(found: dict[str, Any]) -> None:
    assert {address: status for address, (status, _) in found["pages"].items() if status != 200} == {}
    assert found["shop"] == []
    assert "their.task" in found["pages"]["/admin/outbox/message/"][1]
    assert "their reason" in found["pages"]["/admin/outbox/poisonmessage/"][1]


def test_the_console_speaks_of_tasks_where_there_are_no_orders(found: dict[str, Any]) -> None:
    status, refused = found["refused"]
    assert status == 403
    shown = found["pages"]["/console/"][1]
    assert "Tasks are accepted all the same" in shown
    for text in (shown, refused):
        assert not re.search(r"\b(orders?|shop|customers?)\b", text, re.I)
        assert '<a class="brand" href="/console/">' in text


def test_the_command_answers_without_the_shop(environment: dict[str, str], found: dict[str, Any]) -> None:
    status = run(environment, "manage.py", "outbox", "status")
    assert re.search(r"^default +1\b", status, re.M), status
    assert "prune-outbox" in status
    assert "orders" not in status
