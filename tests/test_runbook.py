"""Every command of the runbook can be typed as it stands there."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.core.management import get_commands, load_command_class

from settings import PROJECT_ROOT

RUNBOOK = (PROJECT_ROOT / "docs" / "runbook.md").read_text("utf-8")
ALERTS = (PROJECT_ROOT / "deploy" / "prometheus" / "alerts.yml").read_text("utf-8")

#: What stands for something of the reader's.
PLACEHOLDERS = {"ID": "0192", "NAME": "orders.tasks.send_daily_summary", "…": "2h"}


def commands() -> Iterator[list[str]]:
    """The words behind `manage.py` of each command; `outbox show ID` in a list of several is one, too."""
    quoted = re.findall(r"`(?:[A-Z]+=\S+ )?(?:python )?manage\.py ([^`]+)`", RUNBOOK)
    quoted += [f"outbox {rest}" for rest in re.findall(r"`outbox ([^`]+)`", RUNBOOK)]
    quoted += [rest.rstrip("}\n ") for rest in re.findall(r"cure: manage\.py ([^\n]+)", ALERTS)]
    for command in quoted:
        yield [PLACEHOLDERS.get(word, word) for word in command.split()]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_a_command_of_the_runbook_exists_with_its_options(words: list[str]) -> None:
    name, *arguments = words
    command = load_command_class(get_commands()[name], name)

    assert command.create_parser("manage.py", name).parse_args(arguments)


def test_the_probe_of_the_runbook_runs() -> None:
    assert "`python -m settings.probe worker`" in RUNBOOK
    done = subprocess.run(
        [sys.executable, "-m", "settings.probe", "worker"], cwd=PROJECT_ROOT, env={}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "OUTBOX_HEARTBEAT_DIRECTORY is not set" in done.stderr
