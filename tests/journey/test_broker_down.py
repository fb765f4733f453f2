"""A service that is started while its broker is down: it takes orders, says what is wrong, and goes on by itself."""

from functools import partial

from app.first_run.embedded import EmbeddedBroker
from tests.harness.service import Service, ServiceProcess
from tests.harness.smtp import MailServer
from tests.harness.waiting import wait_until


def test_relay_and_worker_say_the_cure_and_go_on_when_the_broker_is_back(
    service: Service, broker: EmbeddedBroker, mail_server: MailServer
) -> None:
    broker.stop()
    service.start_web()
    relay, worker = service.start_relay(), service.start_worker(wait=False)

    order = service.shop.order()

    cure = f"Cannot reach {service.profile.address}", service.profile.start_hint
    for process in (relay, worker):
        wait_until(partial(says_all, process, *cure), f"{process.name} to say the cure")
    broker.start()
    mail_server.wait_for(order["number"])


def says_all(process: ServiceProcess, *words: str) -> bool:
    return all(each in process.output for each in words)
