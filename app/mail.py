"""How e-mail leaves: over connections to the mail server that are kept, and which of its answers are final.

A new connection costs three round trips; TLS and a login make it eight or more. A message itself costs four.

A verdict on this message or its recipient is final. A server that refuses our login, our greeting or our sender
has said no to us: the e-mail waits, as for a server that is down, until somebody has put that right.
"""

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from smtplib import SMTP, SMTP_SSL, SMTPDataError, SMTPException, SMTPRecipientsRefused
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

#: SMTP reply codes from this one on mean: do not try again (RFC 5321, 4.2.1).
SMTP_PERMANENT = 500

#: They say that a login is missing, too weak, wrong or not encrypted (RFC 4954, 6), to whichever command.
ABOUT_THE_LOGIN = frozenset({530, 534, 535, 538})

#: A connection that has waited so long for its next message is closed. Some servers close theirs after as little.
IDLE_SECONDS = 10.0


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


# --- Connections that are kept ----------------------------------------------------------------------------------------


class KeptSMTP(SMTP):
    """A connection that knows how long it has been used, and how far its present message is. Times are monotonic."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.made_at = self.idle_since = time.monotonic()
        self.messages = 0
        self.text_begun = False
        """Whether the server may have the message: from here on nobody but the server knows."""
        super().__init__(*args, **kwargs)

    def data(self, msg: Any) -> tuple[int, bytes]:
        self.text_begun = True
        return super().data(msg)

    @property
    def is_used_up(self) -> bool:
        age_seconds = time.monotonic() - self.made_at
        return self.messages >= settings.EMAIL_CONNECTION_MESSAGES or age_seconds >= settings.EMAIL_CONNECTION_SECONDS


class KeptSMTPOverTLS(KeptSMTP, SMTP_SSL):
    """The same, with TLS from the start."""


def part(connection: SMTP) -> None:
    """Close a connection, and tell the server if it is there."""
    with suppress(OSError):
        connection.quit()
    connection.close()


class IdleConnections:
    """The connections of this process that wait for their next message, and a thread that closes them in time."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Drop everything without a word: after a fork the connections are the parent's."""
        self._lock = threading.Lock()
        self._waiting: list[tuple[Any, KeptSMTP]] = []
        self._thread: threading.Thread | None = None

    def take(self, server: Any) -> KeptSMTP | None:
        """Return a connection to `server`, the one that was used last; None if there is none."""
        with self._lock:
            for position, (place, connection) in reversed(list(enumerate(self._waiting))):
                if place == server and _idle_seconds(connection) < IDLE_SECONDS:
                    del self._waiting[position]
                    return connection
        return None

    def put(self, server: Any, connection: KeptSMTP) -> None:
        """Keep a connection that has carried a message, unless it has carried enough."""
        if connection.is_used_up:
            part(connection)
            return
        connection.idle_since = time.monotonic()
        with self._lock:
            self._waiting.append((server, connection))
            if self._thread is None:
                self._thread = threading.Thread(target=self._close_in_time, name="mail-idle", daemon=True)
                self._thread.start()

    def _close_in_time(self) -> None:
        """Close what has waited for too long. Returns when nothing waits."""
        while True:
            with self._lock:
                overdue = [each for each in self._waiting if _idle_seconds(each[1]) >= IDLE_SECONDS]
                self._waiting = [each for each in self._waiting if each not in overdue]
                if not self._waiting and not overdue:
                    self._thread = None
                    return
                longest = max((_idle_seconds(connection) for _, connection in self._waiting), default=IDLE_SECONDS)
            for _, connection in overdue:
                part(connection)
            time.sleep(max(IDLE_SECONDS - longest, 0))


def _idle_seconds(connection: KeptSMTP) -> float:
    return time.monotonic() - connection.idle_since


idle = IdleConnections()
os.register_at_fork(after_in_child=lambda: idle.forget())


class KeepingBackend(EmailBackend):
    """Django's, but a connection that has carried a message is kept for the next one.

    Whether a kept connection is still there shows at its first command, which has no effect. So it costs no round trip
    to ask. What fails on it before the message's text is begun is done once more on a new connection: the server may
    have ended it, or refuse more on it. After that nothing is done again: the server may have the message.
    """

    @property
    def connection_class(self) -> type[KeptSMTP]:
        return KeptSMTPOverTLS if self.use_ssl else KeptSMTP

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Send them; returns how many were sent. A connection that the caller has opened is the caller's to close."""
        with self._lock:
            if self.connection is not None or self.fail_silently:
                return super().send_messages(email_messages)
            return sum(self._send_one(message) for message in email_messages)

    def _send_one(self, message: EmailMessage) -> int:
        if kept := idle.take(self._server):
            try:
                return self._send_over(kept, message)
            except OSError:  # all of SMTP's errors are
                if kept.text_begun:
                    raise
        self.open()
        return self._send_over(self.connection, message)

    def _send_over(self, connection: Any, message: EmailMessage) -> int:
        self.connection, connection.text_begun = connection, False
        try:
            sent = super().send_messages([message])
        except SMTPException:
            part(connection)
            raise
        except BaseException:  # perhaps in the middle of a command: the server would not understand a farewell
            connection.close()
            raise
        finally:
            self.connection = None
        connection.messages += sent
        idle.put(self._server, connection)
        return sent

    @property
    def _server(self) -> tuple[Any, ...]:
        """Where a connection leads, and as whom: only for the same it may be used again."""
        return (
            self.host, self.port, self.username, self.password, self.use_tls, self.use_ssl, self.ssl_certfile,
            self.ssl_keyfile, self.timeout,
        )  # fmt: skip
