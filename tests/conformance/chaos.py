"""`make chaos`: faults of every kind at random times, while orders are posted; at the end the ledger is reconciled.

    make chaos MINUTES=10 BROKER=sqs
    make chaos MINUTES=10 BROKER=sqs SEED=4711      the same faults in the same order

What happens follows from the seed; when exactly, and so what it meets, does not.
"""

import argparse
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

import requests

from brokers import PROFILES
from settings import PROJECT_ROOT
from tests.harness.databases import PostgresDatabases
from tests.harness.environment import isolate
from tests.harness.faults import FAULTS, Fault
from tests.harness.ledger import Ledger
from tests.harness.promise import Customer, assert_promise
from tests.harness.servers import Servers
from tests.harness.service import Surroundings
from tests.harness.site import Site
from tests.harness.smtp import MailServer

#: How long a fault lasts at most, and the peace between two.
LONGEST_SECONDS = 6.0
LONGEST_PEACE_SECONDS = 3.0

#: How often a second fault comes on top of the first.
TWICE_AS_BAD = 0.3

#: How long everything may take to be in order again in the end: a backlog on SQS's emulator is slow.
RECONCILE_SECONDS = 240.0

#: What the processes wrote in the last run on each broker.
LOGS = PROJECT_ROOT / "var" / "chaos"

#: Errands that are sent beside the orders, with arguments behind the subject.
ERRANDS: dict[str, tuple[object, ...]] = {
    "send": (),
    "measure": ("x" * 300_000,),
    "send_late": (4.0,),
    "fail_at_first": (3,),
}


@dataclass
class Chaos:
    """One run on a site, decided by a seed."""

    site: Site
    seed: int
    say: Callable[[str], object]
    happened: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    errands: dict[UUID, str] = field(default_factory=dict)
    refused: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311
        self.begun, self.since = time.monotonic(), datetime.now(UTC)

    def run(self, *, seconds: float) -> None:
        """Let things go wrong for so long, then put everything right again and reconcile. Raises AssertionError."""
        with self.site.customer(every_seconds=0.15) as customer:
            while time.monotonic() - self.begun < seconds:
                self._happen(customer)
                time.sleep(self.chance.uniform(0, LONGEST_PEACE_SECONDS))
        self.refused = len(customer.failed)
        self._reconcile(customer)

    def _choose(self) -> list[Fault]:
        first = self.chance.choice(list(FAULTS.values()))
        if self.chance.random() > TWICE_AS_BAD:
            return [first]
        others = [each for each in FAULTS.values() if not each.touches & first.touches]
        return [first, self.chance.choice(others)]

    def _happen(self, customer: Customer) -> None:
        faults = self._choose()
        seconds = self.chance.uniform(0, LONGEST_SECONDS)
        self._send_errand(self.chance.choice(list(ERRANDS)))
        self.say(f"{self._state(customer)} | {' and '.join(each.name for each in faults)}, {seconds:.1f} s")
        with ExitStack() as disorder:
            for each in faults:
                self.happened[each.name] += 1
                self.seconds[each.name] += round(seconds)
                disorder.enter_context(each.happen(self.site, self.chance))
            if self.site.web_version is not self.site.worker_version:
                self._send_errand(self.chance.choice(list(ERRANDS)))  # its task is called as the worker does not know
            time.sleep(seconds)
        self.site.wait_until_up()

    def _send_errand(self, errand: str) -> None:
        """Have one more thing in flight when something goes wrong."""
        subject = f"errand {uuid4()}"
        with suppress(AssertionError, requests.RequestException):  # not accepted, so nothing is promised
            name = self.site.web_version.name(errand)
            self.errands[self.site.send_by_name(name, subject, *ERRANDS[errand])] = subject

    def _state(self, customer: Customer) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self.begun), 60)
        confirmed, twice = self.site.record.confirmed(), len(self.site.record.repeated())
        return f"{minutes:3}:{seconds:02}  {customer.accepted:5} orders  {confirmed:5} e-mails  {twice} twice"

    # --- in the end ---------------------------------------------------------------------------------------------------

    def _reconcile(self, customer: Customer) -> None:
        self.say(f"{self._state(customer)} | everything is mended")
        self.site.heal()
        ledger = Ledger(self.site.database)
        if ledger.execute("SELECT id FROM outbox_message WHERE state = 'dead' AND finished_at >= %s", self.since):
            self.site.service.manage("outbox", "replay", "--all", "--yes", "--since", self.since.isoformat())
        with self.site.another_worker(self.site.worker_version.other):  # between them they know all names
            ledger.hurry()
            assert_promise(self.site, within_seconds=RECONCILE_SECONDS)
        for id, subject in self.errands.items():
            mails = self.site.mail_server.about(subject)
            assert len(mails) == 1, f"errand {id} has {len(mails)} e-mails: {ledger.message(id)}"
        self.say(f"{self._state(customer)} | reconciled")

    def report(self) -> str:
        """What happened, and what became of the orders."""
        accepted = len(self.site.service.shop.accepted)
        lines = [f"{'fault':55} {'times':>5} {'seconds':>8}"]
        lines += [f"{name:55} {self.happened[name]:5} {self.seconds[name]:8}" for name in sorted(self.happened)]
        ends = Counter(f"{end.name} {end.status}" for end in self.site.supervisor.ends)
        lines += [
            "",
            f"orders answered with 201   {accepted}",
            f"orders not accepted        {self.refused}  (web or database away)",
            f"errands                    {len(self.errands)}",
            f"lost                       {len(self.site.record.missing())}",
            f"sent twice                 {len(self.site.record.repeated())}",
            f"processes that ended       {dict(ends)}",
            f"seed                       {self.seed}",
            f"logs                       {self.site.service.directory}",
        ]
        return "\n".join(lines)


# --- make chaos -------------------------------------------------------------------------------------------------------


@contextmanager
def new_site(broker: str, pool: str) -> Iterator[Site]:
    """A site with servers of its own."""
    servers = Servers()
    mail_server = MailServer()
    directory = LOGS / f"{broker}-{pool}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with ExitStack() as closing:
        closing.callback(servers.stop)
        for name in (broker, "postgresql"):
            servers.provide(name, print)
        databases = servers.databases("postgresql")
        assert isinstance(databases, PostgresDatabases)
        mail_server.start()
        closing.callback(mail_server.stop)
        around = Surroundings(servers.broker(broker), databases.create(), mail_server)
        site = Site(directory, around, pool=pool, servers=[databases.server])
        closing.callback(site.close)
        site.open()
        yield site


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--broker", choices=sorted(PROFILES), default="redis")
    parser.add_argument("--pool", choices=["prefork", "threads"], default="prefork")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10_000) if options.seed is None else options.seed
    isolate(os.environ)
    say(f"{options.minutes:g} minutes of chaos on {options.broker} ({options.pool}), seed {seed}")
    with new_site(options.broker, options.pool) as site:
        chaos = Chaos(site, seed, say)
        try:
            chaos.run(seconds=options.minutes * 60)
        except AssertionError as error:
            say(f"\n{chaos.report()}")
            sys.exit(f"\nThe promise was broken: {error}")
        say(f"\n{chaos.report()}")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
