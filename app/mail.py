"""What a mail server's answer means for the task that sent an e-mail."""

from smtplib import SMTPRecipientsRefused, SMTPResponseException

#: SMTP reply codes from here on mean: do not try this again (RFC 5321, 4.2.1).
SMTP_PERMANENT = 500


def is_refused_for_good(error: BaseException) -> bool:
    """Whether the mail server said 5xx, to the message or to every recipient."""
    if isinstance(error, SMTPRecipientsRefused):
        return all(code >= SMTP_PERMANENT for code, _ in error.recipients.values())
    return isinstance(error, SMTPResponseException) and error.smtp_code >= SMTP_PERMANENT
