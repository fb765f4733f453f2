"""Connections to the mail server that are kept for the next e-mail, as a real mail server sees them."""

import os
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPServerDisconnected

import pytest
from django.core.mail import get_connection, send_mail
from pytest_django import Settings

from app import mail
from app.mail import IdleConnections, KeepingBackend
from settings import PROJECT_ROOT
from tests.harness.environment import child_environment
from tests.harness.smtp import MailServer
from tests.harness.tls import Authority
from tests.harness.waiting import wait_until

ONE, TWO = ["MAIL", "DATA"], ["MAIL", "DATA", "MAIL", "DATA"]


@pytest.fixture(autouse=True)
def server(settings: Settings, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch) -> MailServer:
    settings.EMAIL_BACKEND = "app.mail.KeepingBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", mail_server.port, 1
    settings.EMAIL_CONNECTION_SECONDS, settings.EMAIL_CONNECTION_MESSAGES = 60, 100
    monkeypatch.setattr(mail, "idle", IdleConnections())
    return mail_server


def send(subject: str = "Hello") -> None:
    assert send_mail(subject, "How are you?", "from@test.example", ["to@test.example"]) == 1


def test_the_next_email_goes_over_the_same_connection(server: MailServer) -> None:
    send("one")
    send("two")
    assert [each.subject for each in server.mails] == ["one", "two"]
    assert server.dialogues == [TWO]


def test_a_connection_that_has_carried_enough_is_closed(server: MailServer, settings: Settings) -> None:
    settings.EMAIL_CONNECTION_MESSAGES = 2
    for _ in range(3):
        send()
    assert server.dialogues == [[*TWO, "QUIT"], ONE]


def test_a_connection_that_is_too_old_is_closed(server: MailServer, settings: Settings) -> None:
    settings.EMAIL_CONNECTION_SECONDS = 0
    send()
    assert server.dialogues == [[*ONE, "QUIT"]]


def test_an_idle_connection_is_closed_and_its_thread_ends(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "IDLE_SECONDS", 0.05)
    send()
    wait_until(lambda: server.dialogues == [[*ONE, "QUIT"]], "the farewell")
    wait_until(lambda: not any(each.name == "mail-idle" for each in threading.enumerate()), "the end of the thread")
    send()
    assert len(server.mails) == 2


def test_a_connection_that_was_cut_is_replaced_at_once(server: MailServer) -> None:
    send()
    server.cut()
    send()
    assert server.dialogues[-1] == ONE
    assert len(server.mails) == 2


@pytest.mark.parametrize("reply", ["421 too many messages", "451 rest a while", "530 log in again"])
def test_what_a_kept_connection_is_refused_is_asked_on_a_new_one(server: MailServer, reply: str) -> None:
    server.refuse_further(reply)
    send("one")
    send("two")
    assert [each.subject for each in server.mails] == ["one", "two"]
    assert len(server.dialogues) == 2


def test_a_kept_connection_that_says_nothing_is_replaced_after_the_time_out(server: MailServer) -> None:
    server.hold_further()
    send()
    began = time.monotonic()
    send()
    assert 0.9 < time.monotonic() - began < 5
    assert [each[-1] for each in server.dialogues] == ["MAIL", "DATA"]


def test_a_server_that_was_started_again_gets_the_next_email(server: MailServer) -> None:
    send()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        send()
    server.start()
    send()
    assert len(server.mails) == 2


def test_a_message_whose_text_was_begun_is_not_sent_again(server: MailServer) -> None:
    """The server may have it: only a new attempt of the task, with the same Message-ID, sends it again."""
    send("one")
    server.drop_after_accepting()
    with pytest.raises(SMTPServerDisconnected):
        send("two")
    server.hold()
    with pytest.raises(SMTPServerDisconnected, match="timed out"):
        send("three")
    server.accept()
    assert len(server.about("two")) == 1
    assert not server.about("three")
    assert server.dialogues == [TWO, ONE]


def test_a_refusal_is_final_for_its_message_only(server: MailServer) -> None:
    send("one")
    server.refuse("554 not wanted")
    with pytest.raises(SMTPDataError, match="not wanted"):
        send("two")
    server.refuse_recipients("550 no such mailbox")
    with pytest.raises(SMTPRecipientsRefused, match="no such mailbox"):
        send("three")
    server.accept()
    send("four")
    assert [each.subject for each in server.mails] == ["one", "four"]


def test_each_of_two_threads_has_a_connection_of_its_own(server: MailServer) -> None:
    server.hold()
    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.held == 2, "two dialogues at once")
    server.accept()
    for thread in threads:
        thread.join()
    assert len(server.mails) == 2
    send()
    assert len(server.dialogues) == 2


def test_a_child_process_leaves_its_parents_connections_alone(server: MailServer) -> None:
    send("parent")
    child = os.fork()
    if not child:
        try:
            send("child")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    send("parent again")
    assert server.dialogues == [TWO, ONE]


def test_another_server_or_login_is_another_connection(server: MailServer, settings: Settings) -> None:
    send()
    settings.EMAIL_TIMEOUT = 2
    send()
    assert server.dialogues == [ONE, ONE]


def test_who_opens_a_connection_closes_it(server: MailServer) -> None:
    with get_connection() as connection:
        for _ in range(2):
            send_mail("Hello", "How are you?", "from@test.example", ["to@test.example"], connection=connection)
    assert server.dialogues == [[*TWO, "QUIT"]]


@pytest.mark.parametrize(
    ("url", "seconds", "backend"),
    [
        ("smtp+tls://mail", "60", "app.mail.KeepingBackend"),
        ("smtp://mail", "0", "django.core.mail.backends.smtp.EmailBackend"),
        ("consolemail://", "60", "django.core.mail.backends.console.EmailBackend"),
    ],
)
def test_it_is_the_backend_of_a_mail_server_unless_it_is_switched_off(
    tmp_path: Path, url: str, seconds: str, backend: str
) -> None:
    environment = child_environment(tmp_path, EMAIL_URL=url, EMAIL_CONNECTION_SECONDS=seconds)
    command = [sys.executable, "-c", "from app import settings; print(settings.EMAIL_BACKEND)"]
    done = subprocess.run(command, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == backend


def test_with_tls_it_is_kept_too(server: MailServer, settings: Settings, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "trusted")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("127.0.0.1"))
    over_tls = MailServer()
    over_tls.start(ssl_context=context)
    settings.EMAIL_PORT, settings.EMAIL_USE_SSL = over_tls.port, True
    trusting = ssl.create_default_context(cafile=authority.ca_file)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(KeepingBackend, "ssl_context", trusting)
            send()
            send()
        assert over_tls.dialogues == [TWO]
    finally:
        over_tls.stop()
