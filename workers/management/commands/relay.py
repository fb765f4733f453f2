"""`manage.py relay`: publishes what is due to the broker, until it is stopped."""

import signal
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from brokers.errors import BrokerError
from workers.relaying.relay import Relay, SecondRelayError, drain, only_relay


class Command(BaseCommand):
    help = "Publish due messages of the outbox to the broker. Stops in good order on SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="publish what is due now and end (for cron); status 1 if that failed"
        )
        parser.add_argument(
            "--queue",
            action="append",
            metavar="NAME",
            help="only this queue; may be repeated (default: QUEUES and OUTBOX_FOREIGN_QUEUES)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        known = settings.SERVICE.relayed_queues
        queues = options["queue"] or list(known)
        if unknown := sorted(set(queues) - set(known)):
            raise CommandError(f"--queue {unknown[0]} is not one of QUEUES ({', '.join(known)}).")
        relay = Relay(settings.BROKER_PROFILE, queues, settings.OUTBOX)
        try:
            with only_relay():
                self._once(relay) if options["once"] else self._run(relay)
        except SecondRelayError as error:
            raise CommandError(str(error)) from None

    def _once(self, relay: Relay) -> None:
        try:
            published = drain(relay)
        except BrokerError as error:
            raise CommandError(f"{error} What is due waits in the database.") from None
        self.stdout.write(f"Published {published} messages.")

    def _run(self, relay: Relay) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: relay.stopped.set())
        self.stdout.write(f"Relaying {', '.join(relay.queues)} to {relay.profile.address}.")
        relay.run()
        self.stdout.write("Stopped; what is due waits in the database.")
