"""The promise: an order that was answered with 201 gets its confirmation e-mail, once."""

import re
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import requests

from brokers import BrokerError
from tests.harness.shop import Shop
from tests.harness.smtp import MailServer
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from tests.harness.site import Site

#: How long the service may take to keep its promise once everything works again: retries and windows included.
PROMISE_SECONDS = 90.0

#: The number of an order in the subject of its confirmation.
ORDER_NUMBER = re.compile(r"Your order (\S+) at")

#: How much of what is wrong an error message lists.
SHOWN = 10


class Customer(threading.Thread):
    """Posts an order every `every_seconds` while a block runs, whatever is answered.

    `accepted` counts those answered with 201; `failed` says what became of the others.
    """

    def __init__(self, shop: Shop, *, every_seconds: float) -> None:
        super().__init__(name="customer", daemon=True)
        self.accepted = 0
        self.failed: list[str] = []
        self._shop = shop
        self._every_seconds = every_seconds
        self._gone = threading.Event()

    def run(self) -> None:
        while True:
            begun = time.monotonic()
            self._post()
            if self._gone.wait(max(0, begun + self._every_seconds - time.monotonic())):
                return

    def _post(self) -> None:
        try:
            answer = self._shop.post_order({"FILTERS-100": 1})
        except requests.RequestException as error:
            self.failed.append(f"{type(error).__name__}: {error}")
            return
        if answer.status_code == requests.codes.created:
            self.accepted += 1
        else:
            self.failed.append(f"{answer.status_code}: {answer.text[:200]}")

    def __enter__(self) -> "Customer":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._gone.set()
        self.join()

    def wait_for(self, number: int) -> None:
        """Return when that many orders have been accepted."""
        wait_until(lambda: self.accepted >= number, f"{number} accepted orders")

    def assert_untroubled(self) -> None:
        """Every order was accepted: what went wrong is nothing that a customer can see."""
        assert not self.failed, f"{len(self.failed)} orders failed, e.g. {self.failed[0]}"
        assert self.accepted, "no order was posted"


class Record:
    """The 201s and the e-mails of a whole site, read as they come in."""

    def __init__(self, shop: Shop, mail_server: MailServer) -> None:
        self._shop = shop
        self._mail_server = mail_server
        self._seen = 0
        self._numbers: Counter[str] = Counter()
        self._message_ids: Counter[str] = Counter()
        self._repeatable: set[str] = set()

    def _read(self) -> None:
        mails = self._mail_server.mails
        for mail in mails[self._seen :]:
            if found := ORDER_NUMBER.search(mail.subject):
                self._numbers[found[1]] += 1
                self._message_ids[mail.message_id] += 1
        self._seen = len(mails)

    def confirmed(self) -> int:
        """How many orders have an e-mail."""
        self._read()
        return len(self._numbers)

    def missing(self) -> list[dict[str, Any]]:
        """The accepted orders without an e-mail."""
        self._read()
        return [order for order in list(self._shop.accepted) if order["number"] not in self._numbers]

    def repeated(self) -> dict[str, int]:
        """The orders, and the Message-IDs, that more than one e-mail had, and how many."""
        self._read()
        counts = {**self._numbers, **self._message_ids}
        return {what: count for what, count in counts.items() if count > 1 and what not in self._repeatable}

    def allow_repetitions(self) -> None:
        """What has been repeated so far was bound to be: the mail server died between taking it and saying so."""
        self._repeatable.update(self.repeated())


def assert_promise(site: "Site", *, within_seconds: float = PROMISE_SECONDS) -> None:
    """Every order that was ever accepted has its e-mail, none has two, and nothing is left that could send one.

    Waits for that: for the e-mails, then until the ledger has no unfinished message and the broker none at all.
    """
    deadline = time.monotonic() + within_seconds
    _wait(lambda: not site.record.missing(), deadline)
    assert not site.record.missing(), _describe_missing(site)
    _wait(lambda: not site.database.unfinished(), deadline, every_seconds=0.2)
    assert not site.database.unfinished(), f"unfinished messages:\n{_unfinished(site)}\n{_describe_ends(site)}"
    _wait(lambda: _is_drained(site), deadline, every_seconds=0.3)
    assert _is_drained(site), f"the broker still holds {site.service.depth()} messages"
    assert not site.record.repeated(), f"sent more than once: {site.record.repeated()}\n{_describe_ends(site)}"


def _is_drained(site: "Site") -> bool:
    try:
        return site.service.depth() == 0
    except BrokerError:
        return False  # the queue is about to be made again


def _wait(condition: Any, deadline: float, *, every_seconds: float = 0.05) -> None:
    while not condition() and time.monotonic() < deadline:
        time.sleep(every_seconds)


def _describe_missing(site: "Site") -> str:
    missing = site.record.missing()
    lines = [f"{len(missing)} of {len(site.service.shop.accepted)} accepted orders have no e-mail:"]
    rows = site.database.query(f"SELECT arguments, {COLUMNS} FROM outbox_message")
    for order in missing[:SHOWN]:
        # Celery's JSON writes a UUID without its dashes.
        found = [row[1:] for row in rows if order["order_id"].replace("-", "") in row[0]]
        lines.append(f"  {order['number']} of {order['created_at']}: {found or 'NO MESSAGE IN THE LEDGER'}")
    return "\n".join([*lines, _describe_ends(site)])


#: What an error message shows of a message.
COLUMNS = "id, state, attempts, publishes, due_at, published_at, right(last_error, 300)"


def _unfinished(site: "Site") -> str:
    rows = site.database.query(f"SELECT {COLUMNS} FROM outbox_message WHERE finished_at IS NULL LIMIT 10")
    return "\n".join(map(str, rows))


def _describe_ends(site: "Site") -> str:
    return f"processes that ended: {site.supervisor.ends or 'none'}; the database's time: {_now(site)}"


def _now(site: "Site") -> Any:
    return site.database.query("SELECT now()")[0][0]
