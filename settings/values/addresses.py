"""What an e-mail address is here, wherever one enters: one that a mail server can be given, or an error."""

import re
from email.utils import parseaddr

import idna

#: The part before the @ (RFC 5322, dot-atom). Other characters need servers that all understand SMTPUTF8 (RFC 6531).
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")

#: RFC 5321, 4.5.3.1.
MOST_LOCAL, MOST = 64, 254

_EXAMPLE = "write name@example.com."


def deliverable(text: str) -> str:
    """Return an address as a mail server gets it, its domain in ASCII. Raises ValueError for what is none.

    The domain is encoded by IDNA 2008. By IDNA 2003, as Django encodes it, faß.de is fass.de: somebody else's.
    """
    local, at, domain = text.rpartition("@")
    if not at or not _LOCAL.fullmatch(local) or len(local) > MOST_LOCAL:
        raise ValueError(f"is not an e-mail address: {_EXAMPLE}")
    try:
        ascii_domain = idna.encode(domain, uts46=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise ValueError(f"has a domain that there cannot be: {_EXAMPLE}") from None
    is_name = "." in ascii_domain or ascii_domain == "localhost"
    if not is_name or ascii_domain.endswith(".") or ascii_domain.rpartition(".")[2].isdecimal():
        raise ValueError(f"has a domain that e-mail cannot be sent to: {_EXAMPLE}")
    if len(local) + 1 + len(ascii_domain) > MOST:
        raise ValueError(f"is longer than {MOST} characters: {_EXAMPLE}")
    return f"{local}@{ascii_domain}"


def sender(text: str) -> str:
    """Check an address, or `Name <address>`. Raises ValueError as `deliverable` does."""
    name, address = parseaddr(text)
    if "\n" in text or "\r" in text or (not name and address != text.strip("<> ")):
        raise ValueError(f"is not an e-mail address: {_EXAMPLE}")
    deliverable(address)
    return text
