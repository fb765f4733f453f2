"""What no worker can read: kept once with its bytes for a person to look at, and the same worker goes on."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from brokers.wire import BODY, TaskMessage
from tests.harness.foreign import push_garbage, push_message
from tests.harness.ledger import Ledger, Row
from tests.harness.promise import assert_promise
from tests.harness.service import Service
from tests.harness.site import Site
from tests.harness.waiting import wait_until

TASK = "orders.tasks.send_order_confirmation_email"


def headers(**changes: Any) -> dict[str, Any]:
    """Headers of a message for a real task, some of them changed; None takes one away."""
    changed = {**TaskMessage(uuid4(), TASK).headers, **changes}
    return {name: value for name, value in changed.items() if name not in changes or value is not None}


def protocol_1(service: Service) -> bytes:
    old = {"task": TASK, "id": str(uuid4()), "args": 1, "kwargs": 2}
    return push_message(service, json.dumps(old).encode(), None)


#: Each puts something into the queue and returns the bytes that shall be kept of it.
POISON: dict[str, Callable[[Service], bytes]] = {
    "bytes": lambda service: push_garbage(service, b"\xff\xfe\x00 bytes " + uuid4().bytes),
    "text": lambda service: push_garbage(service, f"hello {uuid4()}".encode()),
    "envelope": lambda service: push_garbage(service, b'{"properties": {"delivery_info": 3}, "x": "%d"}' % uuid4().int),
    "no headers": lambda service: push_message(service, f'{{"hello": "{uuid4()}"}}'.encode(), None),
    "no task": lambda service: push_message(service, BODY, headers(task=None)),
    "task is no name": lambda service: push_message(service, BODY, headers(task=["a"])),
    "unknown task": lambda service: push_message(service, BODY, headers(task="nobody.knows")),
    "no id": lambda service: push_message(service, BODY, headers(id=None)),
    "id is no UUID": lambda service: push_message(service, BODY, headers(id="17")),
    "id is no text": lambda service: push_message(service, BODY, headers(id={"a": 1})),
    "no JSON": lambda service: push_message(service, b"{no json", headers()),
    "no text": lambda service: push_message(service, b"\xff\xfe{", headers()),
    "no list of three": lambda service: push_message(service, b'{"a": 1}', headers()),
    "three of the wrong kind": lambda service: push_message(service, b"[1, 2, 3]", headers()),
    "pickle": lambda service: push_message(
        service, b"\x80\x04K\x01.", headers(), content_type="application/x-python-serialize", content_encoding="binary"
    ),
    "unknown type": lambda service: push_message(service, BODY, headers(), content_type="application/klingon"),
    "compressed garbage": lambda service: push_message(service, b"garbage", headers(compression="bzip2")),
    "protocol 1": protocol_1,
}


def wait_for_new(ledger: Ledger, known: dict[str, Row]) -> Row:
    """The only poison message that was not known before."""
    wait_until(lambda: ledger.poison().keys() - known, "a message that is kept")
    [key] = ledger.poison().keys() - known
    return ledger.poison()[key]


@pytest.mark.parametrize("kind", POISON)
def test_a_message_that_nobody_can_read_is_kept_once_and_the_same_worker_goes_on(site: Site, kind: str) -> None:
    ledger = Ledger(site.database)
    known = ledger.poison()
    with site.same_worker():
        body = POISON[kind](site.service)
        site.service.shop.order()
        assert_promise(site)

    kept = wait_for_new(ledger, known)
    assert (bytes(kept["body"]), kept["size"], kept["times"]) == (body, len(body), 1), kept["reason"]


@pytest.mark.pools("prefork")
def test_what_is_pushed_again_and_again_is_kept_once_and_shown_with_its_bytes(site: Site) -> None:
    ledger = Ledger(site.database)
    known = ledger.poison()
    text = f"the same again {uuid4()}".encode()
    with site.same_worker():
        for _ in range(3):
            push_garbage(site.service, text)
        kept = wait_for_new(ledger, known)
        wait_until(lambda: ledger.poison()[kept["key"]]["times"] == 3, "the third of them")
        site.service.shop.order()
        assert_promise(site)

    listed = {row["key"]: row for row in json.loads(site.service.manage("outbox", "poison", "--json"))}
    assert (listed[kept["key"]]["times"], listed[kept["key"]]["size"]) == (3, len(text))
    # Sixteen of them in a line.
    assert text[:16].decode() in site.service.manage("outbox", "poison", kept["key"])


@pytest.mark.pools("prefork")
def test_many_at_once_do_not_take_the_workers_places(site: Site) -> None:
    """A worker takes so many messages in advance: each that it cannot read must give its place back."""
    known = Ledger(site.database).poison()
    with site.same_worker():
        for number in range(50):
            push_garbage(site.service, f"garbage {number} {uuid4()}".encode())
        site.service.shop.order()
        assert_promise(site)

    assert len(Ledger(site.database).poison()) - len(known) == 50


@pytest.mark.pools("prefork")
def test_many_that_come_while_the_database_is_away_do_not_make_the_worker_deaf(site: Site) -> None:
    ledger = Ledger(site.database)
    known = ledger.poison()
    with site.same_worker():
        site.database_network.refuse()
        for number in range(10):
            push_garbage(site.service, f"garbage in bad times {number} {uuid4()}".encode())
        wait_until(lambda: "The worker waits" in site.worker.output, "a message that could not be kept")
        site.database_network.heal()
        site.service.shop.order()
        assert_promise(site)
        wait_until(lambda: len(ledger.poison().keys() - known) == 10, "ten messages that are kept")

    assert [row["times"] for key, row in ledger.poison().items() if key not in known] == [1] * 10
