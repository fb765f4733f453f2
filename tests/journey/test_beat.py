"""What is periodic really happens: beat, relay, a worker and an e-mail."""

from tests.harness.service import REPORT_EMAIL, Service
from tests.harness.smtp import MailServer

#: What the ledger of a service holds that sent its last daily summary three days ago.
LAST_SUMMARY = """
from datetime import timedelta
from django.utils import timezone
from outbox.models import Message
last = timezone.now() - timedelta(days=3)
Message.objects.create(
    task="orders.tasks.send_daily_summary", arguments="[[], {}]", queue="default", state="done", finished_at=last,
    occurrence=f"daily-summary@{last:%Y-%m-%dT06:00:00Z}",
)
"""


def test_a_due_schedule_sends_the_daily_summary_once(service: Service, mail_server: MailServer) -> None:
    service.manage("shell", "-c", LAST_SUMMARY)
    for start in (service.start_relay, service.start_worker, service.start_beat):
        start(wait=False)

    summary = mail_server.wait_for("Orders of")

    assert summary.recipients == (REPORT_EMAIL,)
    service.stop()
    assert len(mail_server.about("Orders of")) == 1, "days that were missed are not made up for one by one"
