"""The mail server: whether it answers, encrypts as EMAIL_URL says, and accepts our password. No e-mail is sent."""

import ssl
from collections.abc import Iterator
from smtplib import SMTPAuthenticationError, SMTPException, SMTPNotSupportedError

from django.core.mail import get_connection
from django.core.mail.backends.smtp import EmailBackend

from app.doctor.examination import one_line
from brokers import Finding

#: The limit for each step of the dialogue.
STEP_SECONDS = 3


def examine() -> Iterator[Finding]:
    backend = get_connection()
    if not isinstance(backend, EmailBackend):
        # In production this is a mistake, which a system check reports (app.W001).
        yield Finding("ok", "delivery", "EMAIL_URL names no mail server: e-mails are not sent.")
        return
    backend.timeout = min(backend.timeout or STEP_SECONDS, STEP_SECONDS)
    place = f"{backend.host}:{backend.port}"
    try:
        backend.open()
        if backend.connection is not None:
            backend.connection.noop()
    except (OSError, SMTPException) as error:
        yield _describe(error, place)
        return
    finally:
        backend.timeout = 0.1  # a server that is frozen does not answer QUIT
        backend.close()
    security = "TLS" if backend.use_ssl else "STARTTLS" if backend.use_tls else "no encryption"
    yield Finding(
        "ok", "reachable", f"{place}, {security}, {'logged in' if backend.username else 'without a password'}"
    )
    if backend.username and not (backend.use_ssl or backend.use_tls):
        message = f"The password travels to {place} unencrypted."
        yield Finding("warn", "encryption", message, "Write smtp+tls:// or smtp+ssl:// in EMAIL_URL.")


def _describe(error: OSError | SMTPException, place: str) -> Finding:
    if isinstance(error, SMTPAuthenticationError):
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return Finding("fail", "login", f"{place} refuses us ({said}).", "Check user and password in EMAIL_URL.")
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"The certificate of {place} is not trusted ({error.verify_message})."
        return Finding("fail", "encryption", message, "Use the name that it is for in EMAIL_URL, or a valid one.")
    if isinstance(error, ssl.SSLError):
        cure = "Port 465 is for smtp+ssl://, 587 for smtp+tls://: check EMAIL_URL."
        return Finding("fail", "encryption", f"{place} does not speak TLS there ({one_line(error)}).", cure)
    if isinstance(error, SMTPNotSupportedError):
        cure = "Check in EMAIL_URL: smtp+tls:// needs STARTTLS, a user needs AUTH."
        return Finding("fail", "features", f"{place} lacks something ({one_line(error)}).", cure)
    timed_out = isinstance(error, TimeoutError) or "timed out" in str(error)
    reason = "no answer" if timed_out else getattr(error, "strerror", "") or one_line(error)
    return Finding("fail", "reachable", f"Cannot reach {place} ({reason}).", "Start it, or correct EMAIL_URL.")
