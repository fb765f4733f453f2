"""What can be wrong with a task, as the outbox sees it."""

from smtplib import SMTPRecipientsRefused, SMTPResponseException

from celery.exceptions import Reject

#: SMTP reply codes from here on mean: do not try this again (RFC 5321, 4.2.1).
SMTP_PERMANENT = 500


class OptionRefusedError(ValueError):
    """Raised by `apply_async` for an option that the ledger cannot keep; nothing has been enqueued."""


def is_permanent(error: BaseException) -> bool:
    """Whether trying again cannot help: the mail server said 5xx, to the message or to every recipient.

    Or the task itself rejects its message, which Celery's autoretry takes for an error like any other.
    """
    if isinstance(error, Reject):
        return True
    if isinstance(error, SMTPRecipientsRefused):
        return all(code >= SMTP_PERMANENT for code, _ in error.recipients.values())
    return isinstance(error, SMTPResponseException) and error.smtp_code >= SMTP_PERMANENT
