"""A mail server for a first run: it keeps each e-mail as a file and prints its text. It forwards nothing."""

import argparse
import asyncio
import contextlib
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as default_policy
from pathlib import Path
from uuid import uuid4

from aiosmtpd.smtp import SMTP, Envelope, Session


def plain_text(message: EmailMessage) -> str:
    """Return the text part of an e-mail; "" if it has none."""
    body = message.get_body(("plain",))
    return "" if body is None else str(body.get_content()).strip()


def read_mails(directory: Path) -> list[EmailMessage]:
    """Return the e-mails kept in `directory`, oldest first."""
    files = sorted(directory.glob("*.eml"), key=lambda path: path.stat().st_mtime)
    return [message_from_bytes(path.read_bytes(), policy=default_policy) for path in files]


class Mailbox:
    """aiosmtpd's handler: one file per e-mail in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        name = uuid4().hex
        # Renamed when complete, so that a reader never sees half an e-mail.
        partial = self.directory / f"{name}.part"
        partial.write_bytes(content)
        partial.rename(self.directory / f"{name}.eml")
        message = message_from_bytes(content, policy=default_policy)
        print(f"To: {message['To']}\nSubject: {message['Subject']}\n\n{plain_text(message)}\n", flush=True)  # noqa: T201
        return "250 kept"


async def serve(directory: Path, port: int) -> None:
    """Receive e-mails on 127.0.0.1:`port` until the process is ended."""
    directory.mkdir(parents=True, exist_ok=True)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Mailbox(directory), enable_SMTPUTF8=True), "127.0.0.1", port
    )
    print(f"Keeping e-mails in {directory}", flush=True)  # noqa: T201
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m app.first_run.mailbox", description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("var/mail"), help="where e-mails are kept (var/mail)")
    parser.add_argument("--port", type=int, default=8025, help="port on 127.0.0.1 (default: 8025)")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.directory, options.port))


if __name__ == "__main__":
    main()
