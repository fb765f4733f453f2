"""The console, the outbox and its commands in a project that has no shop."""

import json
import subprocess
import sys
from pathlib import Path

from settings import PROJECT_ROOT
from tests.harness.environment import child_environment

#: Logs an administrator in, asks for each page, and says what was loaded.
SCRIPT = """
import json, sys
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from outbox import ledger

call_command("migrate", verbosity=0)
id = ledger.enqueue("their.task", [], {}, queue="default")
client = Client()
client.force_login(User.objects.create_superuser("boss"))
pages = ["/console/", "/console/updates/", "/admin/", "/admin/outbox/message/", f"/admin/outbox/message/{id}/change/"]
answers = {page: client.get(page).status_code for page in pages}
call_command("outbox", "status")
shop = [name for name in sys.modules if name.partition(".")[0] == "orders"]
print(json.dumps({"answers": answers, "shop": shop}))
"""


def test_console_admin_and_command_answer_without_the_shop(tmp_path: Path) -> None:
    environment = child_environment(
        tmp_path,
        DATABASE_URL=f"sqlite:///{tmp_path / 'db.sqlite3'}",
        DJANGO_SETTINGS_MODULE="tests.harness.without_shop",
    )
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "default" in done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["answers"].values()) == {200}, found
    assert found["shop"] == []
