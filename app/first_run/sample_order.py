"""`make order`: places an order as a client would, and shows the answer, its time and the e-mail."""

import argparse
import json
import sys
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import requests

from app.first_run.mailbox import plain_text, read_mails

#: How long to wait for the e-mail before saying that it is still on its way.
MAIL_DEADLINE_SECONDS = 15


class ServiceDoesNotAnswerError(Exception):
    """Raised when no service listens at the address."""


def place_order(base_url: str) -> tuple[dict[str, Any], float]:
    """Order two products as the demo customer. Return the order, and how many seconds the POST took."""
    session = requests.Session()
    try:
        token = session.post(f"{base_url}/auth/token/", json={"username": "demo", "password": "demo"}, timeout=10)
        token.raise_for_status()
        session.headers["Authorization"] = f"Token {token.json()['token']}"
        products = session.get(f"{base_url}/products/", timeout=10).json()["results"]
        items = [{"product": product["sku"], "quantity": 1} for product in products if product["stock"]][:2]
        began = time.perf_counter()
        answer = session.post(f"{base_url}/orders/", json={"items": items}, timeout=30)
        seconds = time.perf_counter() - began
        print(f"POST /orders/ -> {answer.status_code} in {seconds * 1000:.0f} ms")  # noqa: T201
        answer.raise_for_status()
    except requests.ConnectionError as error:
        raise ServiceDoesNotAnswerError(f"Nothing answers at {base_url}. Start the service: make run") from error
    return answer.json(), seconds


def wait_for_mail(directory: Path, order_number: str) -> EmailMessage | None:
    """Return the first kept e-mail that names the order; None after `MAIL_DEADLINE_SECONDS`."""
    deadline = time.monotonic() + MAIL_DEADLINE_SECONDS
    while time.monotonic() < deadline:
        for mail in reversed(read_mails(directory)):
            if order_number in str(mail["Subject"]):
                return mail
        time.sleep(0.05)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(prog="make order", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="port of the service on 127.0.0.1 (default: 8000)")
    parser.add_argument("--mailbox", type=Path, default=Path("var/mail"), help="where e-mails are kept (var/mail)")
    options = parser.parse_args()
    try:
        order, _ = place_order(f"http://127.0.0.1:{options.port}")
    except (ServiceDoesNotAnswerError, requests.HTTPError) as error:
        sys.exit(str(error))
    answered = time.perf_counter()
    print(json.dumps(order, indent=2))  # noqa: T201
    mail = wait_for_mail(options.mailbox, order["number"])
    if mail is None:
        sys.exit(f"No e-mail yet after {MAIL_DEADLINE_SECONDS} s. Is the worker running? It will be sent when it is.")
    print(f"\nThe e-mail arrived {time.perf_counter() - answered:.1f} s after the answer:\n")  # noqa: T201
    print(f"To: {mail['To']}\nSubject: {mail['Subject']}\n\n{plain_text(mail)}")  # noqa: T201


if __name__ == "__main__":
    main()
