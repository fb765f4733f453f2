"""Which answers of a mail server are final for the task that sends an e-mail.

A verdict on this message or its recipient is. A server that refuses our login, our greeting or our sender has said no
to us: the e-mail waits, as for a server that is down, until somebody has put that right.
"""

from smtplib import SMTPDataError, SMTPRecipientsRefused

#: SMTP reply codes from this one on mean: do not try again (RFC 5321, 4.2.1).
SMTP_PERMANENT = 500

#: They say that a login is missing, too weak, wrong or not encrypted (RFC 4954, 6), to whichever command.
ABOUT_THE_LOGIN = frozenset({530, 534, 535, 538})


def is_refused_for_good(error: BaseException) -> bool:
    """Whether the mail server answered 5xx to the message or to every recipient."""
    match error:
        case SMTPRecipientsRefused():
            codes = [code for code, _ in error.recipients.values()]
        case SMTPDataError():
            codes = [error.smtp_code]
        case _:
            return False
    return all(code >= SMTP_PERMANENT and code not in ABOUT_THE_LOGIN for code in codes)
