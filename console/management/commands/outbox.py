"""`manage.py outbox`: what the outbox holds, and what people decide about it."""

import getpass
import os
import re
import socket
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from console import overview
from console.presentation import describe_age, format_facts, format_json, format_status, format_table, printable
from outbox import ledger
from outbox.models import Message, PoisonMessage
from outbox.options import as_datetime

#: Seconds between two looks of `status --watch`.
WATCH_SECONDS = 1.0

#: Clears the terminal and goes to its first line (ANSI).
CLEAR = "\x1b[H\x1b[2J"

#: What to do instead about messages that cannot be replayed or discarded, by state.
CURES = {
    "pending": "It is on its way already.",
    "published": "It is on its way already; if the broker has lost it: manage.py outbox republish.",
    "running": "A worker has begun it: wait for it to end.",
}

#: How messages are chosen for a decision.
CHOICE = ["ids", "--task", "--queue", "--since", "--all", "--yes"]


def moment(text: str) -> datetime | Combinable:
    """A time (naive: in TIME_ZONE), or an age by the database's clock."""
    if age := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return Now() - timedelta(seconds=int(age[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[age[2]])
    try:
        return cast(datetime, as_datetime(text))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is neither an age like 2h nor a time like 2026-11-22T14:00") from None


ARGUMENTS: dict[str, dict[str, Any]] = {
    "id": {"metavar": "ID", "help": "or its beginning"},
    "ids": {"metavar": "ID", "nargs": "*", "help": "or its beginning"},
    "key": {"metavar": "KEY", "nargs": "?", "help": "show the bytes of this one; or its beginning"},
    "--watch": {"action": "store_true", "help": "look again every second, until Ctrl-C"},
    "--state": {"choices": Message.State.values},
    "--task": {"metavar": "NAME"},
    "--queue": {"metavar": "NAME"},
    "--since": {"metavar": "WHEN", "type": moment, "help": "ended, or unfinished and enqueued, since: 2h, 7d, a time"},
    "--limit": {"metavar": "N", "type": int, "default": 50, "help": "how many at most (default: %(default)s)"},
    "--all": {"action": "store_true", "help": "all that are dead (and match)"},
    "--yes": {"action": "store_true", "help": "do not ask"},
    "--json": {"action": "store_true", "dest": "as_json", "help": "for programs: the keys are stable"},
}

#: What each action is for, and its arguments.
ACTIONS = {
    "status": ("How much waits where, who is alive, what needs a decision.", ["--watch"]),
    "list": ("Messages, newest first.", ["--state", "--task", "--queue", "--since", "--limit"]),
    "show": ("Everything about one message.", ["id"]),
    "replay": ("Give dead messages a new set of attempts.", CHOICE),
    "discard": ("Decide that dead messages, or waiting ones named by ID, need not happen.", CHOICE),
    "republish": ("Make due what a broker was given and no worker has claimed: that broker is gone.", ["--yes"]),
    "poison": ("What no worker could read, newest first.", ["key", "--limit"]),
}


class Command(BaseCommand):
    help = "Show what the outbox holds, replay or discard dead messages, republish what a broker has lost."

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
                self._say(status, (CLEAR if watch and self.stdout.isatty() else "") + format_status(status))
                if not watch:
                    return
                time.sleep(WATCH_SECONDS)

    def do_list(self, *, state: str | None, limit: int, **options: Any) -> None:
        chosen = overview.shorten(overview.select_messages(state=state, **filters_of(options)))
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


def filters_of(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("task", "queue", "since") if options[name] is not None}


def choose_messages(options: dict[str, Any], states: tuple[str, ...]) -> list[Message]:
    """The messages that the options mean. Raises CommandError for none, and for one that is not in one of `states`."""
    verb, filters = options["action"], filters_of(options)
    if bool(options["ids"]) == bool(filters or options["all"]):
        raise CommandError(f"Say what to {verb}: either IDs, or --task, --queue or --since, or --all.")
    if not options["ids"]:
        found = list(overview.select_messages(state="dead", **filters).only("task"))
        if not found:
            raise CommandError(f"No dead message matches: nothing to {verb}.")
        return found
    named = {message.pk: message for message in map(find_message, options["ids"])}
    for message in named.values():
        if message.state not in states:
            cure = CURES.get(message.state, "To have it happen again, enqueue a new one.")
            raise CommandError(f"{message.pk} is {message.state}: it cannot be {verb}ed. {cure}")
    return list(named.values())


def find_message(text: str) -> Message:
    matching = overview.id_starts_with(text)
    found = Message.objects.filter(matching).only("task", "state") if matching else Message.objects.none()
    days = settings.OUTBOX.keep_days
    message: Message = only(found, text, f"IDs: manage.py outbox list. What is done is forgotten after {days:g} days.")
    return message


def only(found: QuerySet, text: str, cure: str) -> Any:
    """The one that was found. Raises CommandError if it is none, or one of several."""
    rows = list(found[:2])
    if not rows:
        raise CommandError(f"There is no message {text!r}. {cure}")
    if len(rows) > 1:
        raise CommandError(f"{text!r} is the beginning of several: {rows[0].pk}, {rows[1].pk} ... Give more of it.")
    return rows[0]


def whoever_asks() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # containers run under numbers that have no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()} (command line)"
