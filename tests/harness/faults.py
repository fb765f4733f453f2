"""Everything that can go wrong, each as a block: it goes wrong when the block begins and is mended when it ends."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

from brokers.wire import TaskMessage
from tests.harness.broker_faults import FAULTS as BROKER_FAULTS
from tests.harness.databases import PostgresDatabase
from tests.harness.foreign import push_garbage
from tests.harness.ledger import Ledger
from tests.harness.postgres import PostgresServer
from tests.harness.processes import children, descendants, is_alive, signal_all
from tests.harness.proxy import TcpProxy
from tests.harness.site import Site
from tests.harness.waiting import wait_until

Block = Callable[[Site, random.Random], Iterator[None]]

#: How long a sender may take to settle what the mail server has accepted, before it is killed.
SETTLED_SECONDS = 5.0

#: How many copies of messages, or pieces of garbage, come at a time.
FOREIGN = 10


@dataclass(frozen=True)
class Fault:
    """One thing that can go wrong."""

    name: str
    touches: frozenset[str]
    """What it needs for itself: two faults that touch different things can happen at the same time."""
    happen: Callable[[Site, random.Random], AbstractContextManager[None]]


#: All there are, by name.
FAULTS: dict[str, Fault] = {}


def fault(name: str, *touches: str) -> Callable[[Block], Block]:
    """Make a block one of FAULTS."""

    def register(block: Block) -> Block:
        FAULTS[name] = Fault(name, frozenset(touches), contextmanager(block))
        return block

    return register


def postgres_of(site: Site) -> PostgresServer:
    assert isinstance(site.database, PostgresDatabase)
    return site.database.server


# --- Processes of the service -----------------------------------------------------------------------------------------


@fault("web is killed", "web")
def kill_web(site: Site, chance: random.Random) -> Iterator[None]:
    site.kill(site.web)
    yield


@fault("the relay is killed", "relay")
def kill_relay(site: Site, chance: random.Random) -> Iterator[None]:
    site.kill(site.relay)
    yield


@contextmanager
def everything_settled(site: Site) -> Iterator[bool]:
    """No e-mail is between the mail server's yes and the commit while the block runs; False if that took too long.

    A sender that is killed there repeats the e-mail: that is not promised to be otherwise, and a test of its own.
    """
    site.mail_server.hold()
    deadline = time.monotonic() + SETTLED_SECONDS
    while not (settled := _is_settled(site)) and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield settled
    finally:
        site.mail_server.accept()


def _is_settled(site: Site) -> bool:
    accepted = {mail.message_id[1:].partition("@")[0] for mail in site.mail_server.mails}
    running = Ledger(site.database).execute("SELECT id FROM outbox_message WHERE finished_at IS NULL")
    return not accepted & {str(row["id"]) for row in running}


@fault("the worker is killed", "worker", "mail", "database")
def kill_worker(site: Site, chance: random.Random) -> Iterator[None]:
    with everything_settled(site) as settled:
        if settled:
            site.kill(site.worker)
    yield


@fault("what runs a task is killed", "worker", "mail", "database")
def kill_pool_process(site: Site, chance: random.Random) -> Iterator[None]:
    with everything_settled(site) as settled:
        if settled and (pool := children(site.worker.pid)):
            victim = chance.choice(pool)
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: not is_alive(victim), "the end of a pool process")
    yield


@fault("the worker has to stop at once (SIGQUIT)", "worker", "mail", "database")
def stop_worker_at_once(site: Site, chance: random.Random) -> Iterator[None]:
    with everything_settled(site) as settled:
        if settled:
            everybody = [site.worker.pid, *descendants(site.worker.pid)]
            os.kill(site.worker.pid, signal.SIGQUIT)
            wait_until(lambda: not any(map(is_alive, everybody)), "a cold shutdown")
    yield


@fault("all are told to stop (SIGTERM)", "web", "relay", "worker", "mail", "database")
def stop_everything(site: Site, chance: random.Random) -> Iterator[None]:
    for process in site.service.processes:
        os.kill(process.pid, signal.SIGTERM)
    yield


@fault("web is deployed, then the worker: tasks have other names", "worker", "mail", "database")
def deploy_web_first(site: Site, chance: random.Random) -> Iterator[None]:
    site.web_version = site.worker_version.other
    yield
    site.deploy_worker(site.web_version)


@fault("the worker is deployed, then web: tasks have other names", "worker", "mail", "database")
def deploy_worker_first(site: Site, chance: random.Random) -> Iterator[None]:
    site.deploy_worker(site.worker_version.other)
    yield
    site.web_version = site.worker_version


@fault("the relay is frozen", "relay")
def freeze_relay(site: Site, chance: random.Random) -> Iterator[None]:
    site.freeze(site.relay)
    yield
    signal_all([site.relay.pid, *descendants(site.relay.pid)], signal.SIGCONT)


# --- The broker and the way to it -------------------------------------------------------------------------------------


@fault("the broker is stopped", "broker")
def stop_broker(site: Site, chance: random.Random) -> Iterator[None]:
    site.broker.stop()
    yield
    site.broker.start()


@fault("the broker crashes", "broker")
def crash_broker(site: Site, chance: random.Random) -> Iterator[None]:
    site.broker.kill()
    yield
    site.broker.start()


@fault("the broker is frozen", "broker")
def freeze_broker(site: Site, chance: random.Random) -> Iterator[None]:
    site.broker.freeze()
    yield
    site.broker.thaw()


@fault("the broker forgets everything", "broker")
def wipe_broker(site: Site, chance: random.Random) -> Iterator[None]:
    BROKER_FAULTS[site.service.profile.name](site).wipe()
    yield


@fault("the broker refuses", "broker", "network of the relay", "network of the worker")
def let_broker_refuse(site: Site, chance: random.Random) -> Iterator[None]:
    faults = BROKER_FAULTS[site.service.profile.name](site)
    with faults.refusing(chance.choice(faults.refusals)):
        yield


def _disturb(network: TcpProxy, chance: random.Random) -> Iterator[None]:
    delay = partial(network.delay, chance.uniform(0.05, 0.5))
    faults: list[Callable[[], None]] = [network.refuse, network.swallow, delay]
    chance.choice(faults)()
    yield
    network.heal()


@fault("the relay's way to the broker fails", "network of the relay")
def disturb_relay(site: Site, chance: random.Random) -> Iterator[None]:
    yield from _disturb(site.relay_network, chance)


@fault("the worker's way to the broker fails", "network of the worker")
def disturb_worker(site: Site, chance: random.Random) -> Iterator[None]:
    yield from _disturb(site.worker_network, chance)


@fault("connections to the broker are cut again and again", "network of the relay", "network of the worker")
def cut_connections(site: Site, chance: random.Random) -> Iterator[None]:
    for _ in range(chance.randint(1, 10)):
        chance.choice([site.relay_network, site.worker_network]).cut()
        time.sleep(chance.uniform(0, 0.3))
    yield


# --- The mail server --------------------------------------------------------------------------------------------------


@fault("the mail server is down", "mail", "database")
def stop_mail_server(site: Site, chance: random.Random) -> Iterator[None]:
    with everything_settled(site):
        pass  # who is cut off between the yes and reading it repeats the e-mail
    site.mail_server.stop()
    yield
    site.mail_server.start()


@fault("the mail server refuses for the moment", "mail")
def refuse_mails(site: Site, chance: random.Random) -> Iterator[None]:
    site.mail_server.refuse("451 try again later")
    yield
    site.mail_server.accept()


@fault("the mail server refuses for good", "mail")
def refuse_mails_for_good(site: Site, chance: random.Random) -> Iterator[None]:
    site.mail_server.refuse("554 not wanted")
    yield
    site.mail_server.accept()


@fault("the mail server is frozen", "mail")
def freeze_mail_server(site: Site, chance: random.Random) -> Iterator[None]:
    site.mail_server.hold()
    yield
    site.mail_server.accept()


# --- The database -----------------------------------------------------------------------------------------------------


@fault("the database is restarted", "database")
def restart_database(site: Site, chance: random.Random) -> Iterator[None]:
    postgres_of(site).stop()
    yield
    postgres_of(site).start()


@fault("the database crashes", "database")
def crash_database(site: Site, chance: random.Random) -> Iterator[None]:
    postgres_of(site).kill()
    yield
    postgres_of(site).start()


@fault("the database is frozen", "database")
def freeze_database(site: Site, chance: random.Random) -> Iterator[None]:
    postgres_of(site).freeze()
    yield
    postgres_of(site).thaw()


@fault("the worker is cut off from the database", "database", "worker")
def cut_off_worker(site: Site, chance: random.Random) -> Iterator[None]:
    site.database_network.refuse()
    yield
    site.database_network.heal()


# --- Messages that nobody asked for -----------------------------------------------------------------------------------


@fault("somebody sends garbage", "broker")
def send_garbage(site: Site, chance: random.Random) -> Iterator[None]:
    for _ in range(FOREIGN):
        push_garbage(site.service, chance.randbytes(chance.randint(1, 200)))
    yield


@fault("messages are delivered again", "broker", "database")
def repeat_messages(site: Site, chance: random.Random) -> Iterator[None]:
    recent = "SELECT id, task FROM outbox_message ORDER BY created_at DESC LIMIT 20"
    rows = Ledger(site.database).execute(recent) or [{"id": uuid4(), "task": "nobody.knows"}]
    copies = [TaskMessage(UUID(str(row["id"])), row["task"]) for row in chance.choices(rows, k=FOREIGN)]
    site.service.profile.publish(site.service.queue, copies)
    yield
