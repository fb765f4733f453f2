"""Which answers of a mail server end a task, and which ones it waits out."""

from smtplib import (
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPDataError,
    SMTPException,
    SMTPHeloError,
    SMTPNotSupportedError,
    SMTPRecipientsRefused,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)

import pytest

from app.mail import is_refused_for_good


@pytest.mark.parametrize(
    "error",
    [
        SMTPAuthenticationError(535, b"5.7.8 bad credentials"),
        SMTPAuthenticationError(534, b"5.7.9 application-specific password required"),
        SMTPHeloError(550, b"who are you"),
        SMTPConnectError(554, b"no SMTP service here"),
        SMTPSenderRefused(553, b"5.7.1 not owned by user", "orders@example.com"),
        SMTPSenderRefused(530, b"5.7.0 authentication required", "orders@example.com"),
        SMTPRecipientsRefused({"ada@example.com": (530, b"5.7.0 authentication required")}),
        SMTPRecipientsRefused({"ada@example.com": (450, b"mailbox busy")}),
        SMTPRecipientsRefused({"ada@example.com": (550, b"unknown"), "eve@example.com": (450, b"busy")}),
        SMTPDataError(451, b"try again later"),
        SMTPDataError(530, b"5.7.0 must issue a STARTTLS command first"),
        SMTPNotSupportedError("no AUTH"),
        SMTPServerDisconnected("gone"),
        ConnectionRefusedError(),
        TimeoutError(),
    ],
    ids=repr,
)
def test_a_no_to_us_is_waited_out(error: SMTPException | OSError) -> None:
    assert not is_refused_for_good(error)


@pytest.mark.parametrize(
    "error",
    [
        SMTPRecipientsRefused({"ada@example.com": (550, b"5.1.1 no such mailbox")}),
        SMTPRecipientsRefused({"ada@example.com": (552, b"5.2.2 mailbox full")}),
        SMTPDataError(554, b"5.7.1 rejected as spam"),
        SMTPDataError(552, b"5.3.4 too large"),
    ],
    ids=repr,
)
def test_a_verdict_on_the_recipient_or_the_message_is_final(error: SMTPException) -> None:
    assert is_refused_for_good(error)
