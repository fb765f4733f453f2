"""`manage.py doctor`: says what is wrong, and what to do."""

import json
import sys
import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from app.doctor import CHECKS
from app.doctor.examination import examine
from brokers import Finding
from console.presentation import printable

#: Three seconds less than the promised 10 s, because starting Python and Django takes time, too.
DEADLINE_SECONDS = 7.0

LEVELS = {"ok": "SUCCESS", "warn": "WARNING", "fail": "ERROR"}


class Command(BaseCommand):
    help = (
        "Look at everything the service needs: settings, database, broker, outbox, processes, mail server. "
        "Takes 10 s at most, changes nothing; exit status 1 if anything FAILs."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json", help="as an object, for a program")

    def handle(self, *args: Any, as_json: bool, **options: Any) -> None:
        began, found = time.monotonic(), []
        for area, finding in examine(CHECKS, deadline_seconds=DEADLINE_SECONDS):
            found.append({"area": area, **asdict(finding)})
            if not as_json:
                self._show(area, finding)
        worst = max((each["level"] for each in found), key=list(LEVELS).index)
        seconds = time.monotonic() - began
        if as_json:
            self.stdout.write(json.dumps({"status": worst, "seconds": round(seconds, 2), "findings": found}, indent=2))
        else:
            self.stdout.write(f"\n{len(found)} findings in {seconds:.1f} s, the worst: {worst.upper()}.")
        if worst == "fail":
            sys.exit(1)

    def _show(self, area: str, finding: Finding) -> None:
        level = getattr(self.style, LEVELS[finding.level])(f"{finding.level.upper():4}")
        text = printable(f"{area:11}  {finding.name}: {finding.message} {finding.cure}".rstrip())
        self.stdout.write(f"{level}  {text}")
        self.stdout.flush()
