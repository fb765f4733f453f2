"""A real SMTP server that keeps what it receives and can misbehave as mail servers do."""

import asyncio
import logging
import threading
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as default_policy
from enum import Enum
from functools import cached_property
from ssl import SSLContext
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from app.first_run.processes import find_free_port
from tests.harness.waiting import DEFAULT_SECONDS, wait_until

# It reports every line of every dialogue.
logging.getLogger("mail.log").setLevel(logging.WARNING)


class Behaviour(Enum):
    ACCEPT = "accept"
    REFUSE = "refuse"
    """Answer the message itself with an error."""
    REFUSE_RECIPIENT = "refuse recipient"
    """Answer the recipient's address with an error."""
    HOLD = "hold"
    """Leave the client without an answer in the middle of the dialogue."""
    ACCEPT_AND_DROP = "accept and drop"
    """Keep the message, but close the connection before saying so."""
    REFUSE_FURTHER = "refuse further"
    """Answer the second message of a connection with an error when it begins."""
    HOLD_FURTHER = "hold further"
    """Leave the second message of a connection without an answer when it begins."""


@dataclass(frozen=True)
class Mail:
    """One e-mail that the server answered for with 250 (or dropped the connection after keeping it)."""

    recipients: tuple[str, ...]
    message: EmailMessage

    # Once each: to parse a header takes a while, and the record is read again and again.
    @cached_property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @cached_property
    def message_id(self) -> str:
        return str(self.message["Message-ID"])

    @property
    def text(self) -> str:
        return self._part("plain")

    @property
    def html(self) -> str:
        return self._part("html")

    def _part(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        return "" if part is None else str(part.get_content())


class MailServer:
    """An SMTP server on a port of its own. Its record may be read while it runs."""

    def __init__(self) -> None:
        self.port = find_free_port()
        self._lock = threading.Lock()
        self._mails: list[Mail] = []
        self._refused = 0
        self._held = 0
        self._dialogues: dict[asyncio.Transport, list[str]] = {}
        self._behaviour = Behaviour.ACCEPT
        self._reply = ""
        self._controller: Controller | None = None

    @property
    def url(self) -> str:
        """The service's EMAIL_URL."""
        return f"smtp://127.0.0.1:{self.port}"

    def start(self, ssl_context: SSLContext | None = None) -> None:
        """Listen; with `ssl_context`, to clients that begin with TLS."""
        # Names are not looked up: the fault tests open many connections, and a resolver may be slow.
        self._controller = Controller(
            _Handler(self),
            hostname="127.0.0.1",
            port=self.port,
            server_hostname="mail.test",
            enable_SMTPUTF8=True,
            ssl_context=ssl_context,
        )
        self._controller.start()

    def stop(self) -> None:
        """Close the port and every connection, as a server that died; `start()` opens the same port again."""
        self.accept()
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    # --- what it shall do from now on ---------------------------------------------------------------------------------

    def accept(self) -> None:
        """Take every message, also those that are held and whose senders are still there."""
        self._catch_up()
        self._behaviour = Behaviour.ACCEPT

    def refuse(self, reply: str) -> None:
        """Answer each message with `reply`, e.g. '451 try again later' or '554 not wanted'."""
        self._behaviour, self._reply = Behaviour.REFUSE, reply

    def refuse_recipients(self, reply: str) -> None:
        """Answer each recipient with `reply`, e.g. '550 no such mailbox'."""
        self._behaviour, self._reply = Behaviour.REFUSE_RECIPIENT, reply

    def hold(self) -> None:
        """Read each message and then say nothing, until another behaviour is chosen.

        What was accepted before is among the `mails` when this returns.
        """
        self._behaviour = Behaviour.HOLD
        self._catch_up()

    def drop_after_accepting(self) -> None:
        """Keep each message and close the connection instead of confirming it."""
        self._behaviour = Behaviour.ACCEPT_AND_DROP

    def refuse_further(self, reply: str) -> None:
        """Take one message of each connection, and answer the next one with `reply`, e.g. '421 that is enough'."""
        self._behaviour, self._reply = Behaviour.REFUSE_FURTHER, reply

    def hold_further(self) -> None:
        """Take one message of each connection, and say nothing more on it."""
        self._behaviour = Behaviour.HOLD_FURTHER

    def cut(self) -> None:
        """Close every connection, and listen on."""
        if self._controller is not None:
            for transport in self._dialogues:
                self._controller.loop.call_soon_threadsafe(transport.abort)
        self._catch_up()

    def _catch_up(self) -> None:
        """Return when the server's thread has dealt with all that has happened so far."""
        if self._controller is not None:
            asyncio.run_coroutine_threadsafe(_take_turns(), self._controller.loop).result(timeout=10)

    # --- what has happened --------------------------------------------------------------------------------------------

    @property
    def mails(self) -> list[Mail]:
        """The e-mails received so far, oldest first."""
        with self._lock:
            return list(self._mails)

    @property
    def refused(self) -> int:
        """How many messages or recipients were answered with an error."""
        return self._refused

    @property
    def held(self) -> int:
        """How many dialogues wait for an answer now."""
        return self._held

    @property
    def dialogues(self) -> list[list[str]]:
        """The commands MAIL, DATA and QUIT of each connection, in the order of the connections."""
        return [list(commands) for commands in self._dialogues.values()]

    def about(self, words: str) -> list[Mail]:
        """The e-mails with `words` in their subject, e.g. the number of an order."""
        return [mail for mail in self.mails if words in mail.subject]

    def wait_for(self, words: str, *, within_seconds: float = DEFAULT_SECONDS) -> Mail:
        """The first e-mail with `words` in its subject, as soon as it is there."""
        return wait_until(lambda: self.about(words), f"an e-mail about {words}", within_seconds=within_seconds)[0]

    def wait_until_held(self, *, within_seconds: float = DEFAULT_SECONDS) -> None:
        wait_until(lambda: self.held, "an SMTP dialogue that is held", within_seconds=within_seconds)

    # --- called by the dialogues, in the server's thread --------------------------------------------------------------

    def note(self, server: SMTP, command: str) -> list[str]:
        """Take down a command; returns what came by the same connection before it."""
        assert isinstance(server.transport, asyncio.Transport)
        before = self._dialogues.setdefault(server.transport, [])
        self._dialogues[server.transport] = [*before, command]
        return before

    async def answer_sender(self, server: SMTP) -> str:
        is_further = bool(self.note(server, "MAIL"))
        if is_further and self._behaviour is Behaviour.REFUSE_FURTHER:
            return self._reply
        if is_further and self._behaviour is Behaviour.HOLD_FURTHER:
            await self._hold_until_told_otherwise()
        return "250 go on"

    async def answer_message(self, server: SMTP, envelope: Envelope) -> str:
        if self._behaviour is Behaviour.HOLD:
            await self._hold_until_told_otherwise()
        match self._behaviour:
            case Behaviour.REFUSE:
                self._refused += 1
                return self._reply
            case Behaviour.ACCEPT_AND_DROP:
                self._keep(envelope)
                assert isinstance(server.transport, asyncio.Transport)
                server.transport.abort()
            case _:
                self._keep(envelope)
        return "250 kept"

    def answer_recipient(self, address: str, envelope: Envelope) -> str:
        if self._behaviour is Behaviour.REFUSE_RECIPIENT:
            self._refused += 1
            return self._reply
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def _hold_until_told_otherwise(self) -> None:
        self._held += 1
        try:
            while self._behaviour in (Behaviour.HOLD, Behaviour.HOLD_FURTHER):  # another thread tells
                await asyncio.sleep(0.02)
        finally:  # also when the client gave up
            self._held -= 1

    def _keep(self, envelope: Envelope) -> None:
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        message = message_from_bytes(content, policy=default_policy)
        with self._lock:
            self._mails.append(Mail(tuple(envelope.rcpt_tos), message))


async def _take_turns() -> None:
    """Let the event loop go round often enough for an end of a connection to reach who reads from it."""
    for _ in range(10):
        await asyncio.sleep(0)


class _Handler:
    """The names by which aiosmtpd calls us."""

    def __init__(self, mail_server: MailServer) -> None:
        self.mail_server = mail_server

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return await self.mail_server.answer_sender(server)

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.mail_server.note(server, "QUIT")
        return "221 goodbye"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[Any]
    ) -> str:
        return self.mail_server.answer_recipient(address, envelope)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.mail_server.note(server, "DATA")
        return await self.mail_server.answer_message(server, envelope)
