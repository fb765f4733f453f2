"""`manage.py outbox`: what the outbox holds, and what people decide about it."""

import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from console import overview
from console.choice import choose_messages, choose_pausable, filters_of, find_message, moment, only, whoever_asks
from console.presentation import describe_age, format_facts, format_json, format_status, format_table, printable
from console.schedules import describe_schedules
from outbox import ledger
from outbox.models import Message, PoisonMessage

#: Seconds between two looks of `status --watch`.
WATCH_SECONDS = 1.0

#: Clears the terminal and goes to its first line (ANSI).
CLEAR = "\x1b[H\x1b[2J"

#: How messages are chosen for a decision.
CHOICE = ["ids", "--task", "--queue", "--since", "--all", "--yes"]


ARGUMENTS: dict[str, dict[str, Any]] = {
    "id": {"metavar": "ID", "help": "or its beginning"},
    "ids": {"metavar": "ID", "nargs": "*", "help": "or its beginning"},
    "queue": {"metavar": "QUEUE", "nargs": "?"},
    "key": {"metavar": "KEY", "nargs": "?", "help": "show the bytes of this one; or its beginning"},
    "--watch": {"action": "store_true", "help": "look again every second, until Ctrl-C"},
    "--state": {"choices": Message.State.values},
    "--task": {"metavar": "NAME"},
    "--queue": {"metavar": "NAME"},
    "--since": {"metavar": "WHEN", "type": moment, "help": "ended, or unfinished and enqueued, since: 2h, 7d, a time"},
    "--refused": {"action": "store_true", "help": "those that wait because workers have refused them"},
    "--limit": {"metavar": "N", "type": int, "default": 50, "help": "how many at most (default: %(default)s)"},
    "--all": {"action": "store_true", "help": "all that are dead (and match)"},
    "--yes": {"action": "store_true", "help": "do not ask"},
    "--json": {"action": "store_true", "dest": "as_json", "help": "for programs: the keys are stable"},
}

#: What each action is for, and its arguments.
ACTIONS = {
    "status": ("How much waits where, who is alive, what needs a decision.", ["--watch"]),
    "list": ("Messages, newest first.", ["--state", "--task", "--queue", "--since", "--refused", "--limit"]),
    "show": ("Everything about one message.", ["id"]),
    "replay": ("Give dead messages a new set of attempts.", CHOICE),
    "discard": ("Decide that dead messages, or waiting ones named by ID, need not happen.", CHOICE),
    "republish": ("Make due what a broker was given and no worker has claimed: that broker is gone.", ["--yes"]),
    "pause": ("Let nothing of a queue or task begin; what runs ends.", ["queue", "--task"]),
    "resume": ("Let a paused queue or task go on.", ["queue", "--task"]),
    "poison": ("What no worker could read, newest first.", ["key", "--limit"]),
}


class Command(BaseCommand):
    help = (
        "Show what the outbox holds, replay or discard dead messages, pause queues, republish what a broker has lost."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        for name, (purpose, arguments) in ACTIONS.items():
            action = actions.add_parser(name, help=purpose, description=purpose)
            for argument in [*arguments, "--json"]:
                action.add_argument(argument, **ARGUMENTS[argument])

    def handle(self, *args: Any, **options: Any) -> None:
        self.options = options
        try:
            getattr(self, f"do_{options['action']}")(**options)
        except DatabaseError as error:
            reason = printable(" ".join(str(error).split()))
            raise CommandError(f"The database says: {reason}. Is it up, and migrated (manage.py migrate)?") from error

    def do_status(self, *, watch: bool, **options: Any) -> None:
        with suppress(KeyboardInterrupt):
            while True:
                status = overview.describe_status()
                status["schedules"] = describe_schedules(status["processes"])
                self._say(status, (CLEAR if watch and self.stdout.isatty() else "") + format_status(status))
                if not watch:
                    return
                time.sleep(WATCH_SECONDS)

    def do_list(self, *, state: str | None, refused: bool, limit: int, **options: Any) -> None:
        chosen = overview.shorten(overview.select_messages(state=state, refused=refused, **filters_of(options)))
        found = [overview.describe_message(message) for message in chosen[: max(limit, 1)]]
        names = ["id", "state", "task", "queue", "attempts"]
        rows = [[*(row[name] for name in names), describe_age(row["age_seconds"]), row["error"][:100]] for row in found]
        self._say(found, format_table([*names, "age", "error"], rows) if rows else "")
        if not found:
            raise CommandError("No message matches.")
        if len(found) == limit:
            self.stderr.write(f"These are the newest {limit}; --limit shows more.", str)

    def do_show(self, *, id: str, **options: Any) -> None:
        message = overview.shorten(Message.objects.filter(pk=find_message(id).pk)).get()
        facts = overview.describe_message(message, fully=True)
        self._say(facts, format_facts(facts))

    def do_poison(self, *, key: str | None, limit: int, **options: Any) -> None:
        messages = PoisonMessage.objects.order_by("-last_seen_at")
        if key:
            found = only(messages.filter(key__startswith=key), key, "KEYs: manage.py outbox poison")
            facts = overview.columns_of(found)
            self._say(facts, format_facts(facts))
            return
        rows = [overview.columns_of(found, without=["body"]) for found in messages.defer("body")[: max(limit, 1)]]
        names = ["key", "queue", "size", "times", "reason"]
        table = format_table(names, [[row[name] for name in names] for row in rows])
        self._say(rows, table if rows else "Everything could be read.")

    def do_replay(self, **options: Any) -> None:
        self._decide(ledger.replay, overview.REPLAYABLE)

    def do_discard(self, **options: Any) -> None:
        self._decide(ledger.discard, overview.DISCARDABLE)

    def do_republish(self, **options: Any) -> None:
        self._confirm(Counter(overview.select_messages(state="published").values_list("queue", flat=True)))
        self._report(ledger.republish(by=whoever_asks()))

    def do_pause(self, *, queue: str | None, task: str | None, **options: Any) -> None:
        kind, name = choose_pausable(queue, task)
        changed = ledger.pause(kind, name, by=whoever_asks())
        [pause] = [each for each in overview.describe_pauses() if (each["kind"], each["name"]) == (kind, name)]
        since = "paused" if changed else f"paused already, by {pause['by']}"
        text = f"The {kind} {name} is {since}: what runs ends, nothing new begins. To go on: {pause['cure']}"
        self._say({"action": "pause", "changed": changed, **pause}, text)

    def do_resume(self, *, queue: str | None, task: str | None, **options: Any) -> None:
        kind, name = choose_pausable(queue, task)
        changed = ledger.resume(kind, name, by=whoever_asks())
        text = f"The {kind} {name} goes on." if changed else f"The {kind} {name} was not paused."
        self._say({"action": "resume", "changed": changed, "kind": kind, "name": name, "by": whoever_asks()}, text)

    def _decide(self, decide: Callable[..., int], states: tuple[str, ...]) -> None:
        chosen = choose_messages(self.options, states)
        self._confirm(Counter(message.task for message in chosen))
        chunks = overview.in_chunks([message.pk for message in chosen])
        self._report(sum(decide(chunk, by=whoever_asks()) for chunk in chunks))

    def _confirm(self, counts: Counter[str]) -> None:
        """Say how many it concerns; ask if it is more than one. Raises CommandError unless the answer is yes."""
        for name, count in counts.most_common():
            self.stderr.write(f"{count:7}  {name}", str)
        question = f"{self.options['action'].capitalize()} {counts.total()} messages?"
        if counts.total() < 2 or self.options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError(f"{question} Nobody can answer, stdin is no terminal: to mean it, add --yes.")
        self.stderr.write(f"{question} [y/N] ", str, ending="")
        with suppress(EOFError, KeyboardInterrupt):
            if input().strip().lower() in ("y", "yes"):
                return
        raise CommandError("Nothing was changed.")

    def _report(self, changed: int) -> None:
        action = self.options["action"]
        text = f"{action.capitalize()}ed {changed} message{'s' * (changed != 1)}."
        self._say({"action": action, "messages": changed, "by": whoever_asks()}, text)

    def _say(self, value: object, text: str) -> None:
        """`value` as JSON to a program (in one line while watching), `text` to a person."""
        indent = None if self.options.get("watch") else 2
        self.stdout.write(format_json(value, indent=indent) if self.options["as_json"] else text)
