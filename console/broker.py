"""What the broker says of itself, asked in the background: no page ever waits for a broker that is frozen."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from django.conf import settings

from brokers import BrokerError, Depth, Finding
from console.latest import Latest

#: Pages that are being looked at ask again every so many seconds. With the 3 s that one step towards a broker may take
#: and the 2 s between two updates, whatever happens to the broker is on the page within 10 s.
EVERY_SECONDS = 2.0

#: An older answer says nothing about now.
STALE_SECONDS = 12.0

SEVERITY = {"fail": 0, "warn": 1, "ok": 2}


@dataclass(frozen=True)
class BrokerLook:
    """How the broker was when it was last asked."""

    address: str
    findings: Sequence[Finding]
    """The gravest first."""
    depths: Sequence[tuple[str, Depth]] = ()
    """What it holds of each queue; empty when it did not say."""
    looked_at: float = field(default_factory=time.monotonic)

    @property
    def level(self) -> Literal["ok", "warn", "fail"]:
        return self.findings[0].level if self.findings else "ok"

    @property
    def problems(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level != "ok"]

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.looked_at


def look_at_broker() -> BrokerLook:
    """Ask the broker in use. Takes as long as the broker does, but not for ever."""
    profile = settings.BROKER_PROFILE
    findings, depths = profile.findings(settings.SERVICE.queues), []
    if not any(finding.level == "fail" for finding in findings):
        try:
            depths = [(queue, profile.depth(queue)) for queue in settings.SERVICE.queues]
        except BrokerError as error:
            findings = [*findings, Finding("fail", profile.title, error.problem, error.cure)]
    return BrokerLook(profile.address, sorted(findings, key=lambda each: SEVERITY[each.level]), depths)


def watch_broker() -> Latest[BrokerLook]:
    """A watch that asks only while somebody wants to know."""
    return Latest(look_at_broker, every_seconds=EVERY_SECONDS, stale_seconds=STALE_SECONDS)


def no_answer() -> BrokerLook:
    """What there is to say before the first answer, and when none comes any more."""
    profile = settings.BROKER_PROFILE
    finding = Finding("warn", "reachable", f"No answer yet from {profile.address}.", profile.reach_hint)
    return BrokerLook(profile.address, [finding])
