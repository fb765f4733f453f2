"""Which answers of a mail server are final for the task that sends an e-mail."""

from smtplib import SMTPRecipientsRefused, SMTPResponseException

#: SMTP reply codes from this one on mean: do not try again (RFC 5321, 4.2.1).
SMTP_PERMANENT = 500


def is_refused_for_good(error: BaseException) -> bool:
    """Whether the mail server answered 5xx to the message or to every recipient."""
    if isinstance(error, SMTPRecipientsRefused):
        return all(code >= SMTP_PERMANENT for code, _ in error.recipients.values())
    return isinstance(error, SMTPResponseException) and error.smtp_code >= SMTP_PERMANENT
