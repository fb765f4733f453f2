"""Several beats, killed at any moment: each occurrence of a schedule is one message and one e-mail."""

import pytest

from tests.harness.promise import assert_promise
from tests.harness.site import Site
from tests.harness.waiting import wait_until


def count_ticks(site: Site) -> int:
    return int(site.database.query("SELECT count(*) FROM outbox_message WHERE occurrence LIKE 'tick@%'")[0][0])


def wait_for_ticks(site: Site, number: int) -> None:
    """Return when that many more seconds of the schedule have been enqueued."""
    goal = count_ticks(site) + number
    wait_until(lambda: count_ticks(site) >= goal, f"{number} more ticks", every_seconds=0.1)


@pytest.mark.pools("prefork")
def test_two_beats_die_in_turn_and_together(site: Site) -> None:
    with site.beats(2) as beats:
        for victims in ([beats[0]], [beats[1]], beats):
            wait_for_ticks(site, 2)
            for beat in victims:
                site.kill(beat)
            wait_for_ticks(site, 2)

    assert_promise(site)
    mails = site.mail_server.about("Tick")
    assert len({mail.message_id for mail in mails}) == len({mail.subject for mail in mails}) == len(mails)
    assert len(mails) == count_ticks(site)
