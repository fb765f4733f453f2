"""The mail server of the tests behaves as its methods say, as seen by an ordinary client."""

import smtplib
import threading
from collections.abc import Iterator

import pytest

from tests.harness.smtp import MailServer
from tests.harness.waiting import wait_until

MESSAGE = b"Subject: Hello\r\nMessage-ID: <1@test>\r\n\r\nHow are you?\r\n"


@pytest.fixture
def client(mail_server: MailServer) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", mail_server.port, timeout=5) as client:
        yield client


def send(client: smtplib.SMTP) -> None:
    client.sendmail("from@test", ["to@test"], MESSAGE)


def test_it_keeps_what_it_accepts(client: smtplib.SMTP, mail_server: MailServer) -> None:
    send(client)
    [mail] = mail_server.mails
    assert mail.recipients == ("to@test",)
    assert (mail.subject, mail.message_id, mail.text.strip()) == ("Hello", "<1@test>", "How are you?")


def test_it_refuses_messages_and_recipients_as_told(client: smtplib.SMTP, mail_server: MailServer) -> None:
    mail_server.refuse("451 try again later")
    with pytest.raises(smtplib.SMTPDataError) as message_refused:
        send(client)
    assert message_refused.value.smtp_code == 451
    mail_server.refuse_recipients("550 no such mailbox")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(client)
    assert (mail_server.refused, mail_server.mails) == (2, [])


def test_what_it_holds_it_answers_once_it_accepts_again(client: smtplib.SMTP, mail_server: MailServer) -> None:
    mail_server.hold()
    sender = threading.Thread(target=send, args=(client,))
    sender.start()
    mail_server.wait_until_held()
    assert not mail_server.mails
    mail_server.accept()
    sender.join()
    assert (mail_server.held, len(mail_server.mails)) == (0, 1)


def test_a_client_that_gives_up_is_no_longer_held(mail_server: MailServer) -> None:
    mail_server.hold()
    impatient = smtplib.SMTP("127.0.0.1", mail_server.port, timeout=0.5)
    with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
        send(impatient)
    wait_until(lambda: mail_server.held == 0, "the end of the dialogue that was given up")


def test_it_can_keep_a_message_without_confirming_it(client: smtplib.SMTP, mail_server: MailServer) -> None:
    mail_server.drop_after_accepting()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(client)
    assert len(mail_server.mails) == 1


def test_a_stopped_server_closes_its_connections_and_opens_the_same_port_again(
    client: smtplib.SMTP, mail_server: MailServer
) -> None:
    mail_server.stop()
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        send(client)
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP("127.0.0.1", mail_server.port, timeout=5)
    mail_server.start()
    with smtplib.SMTP("127.0.0.1", mail_server.port, timeout=5) as another:
        send(another)
    assert len(mail_server.mails) == 1
