"""What the import rules of `pyproject.toml` cannot say: they know a library as a whole, and not its parts."""

import ast
from collections.abc import Iterator

from tests.harness.private_names import sources

MAIL = ("smtplib", "email", "django.core.mail")


def imported(text: str) -> Iterator[str]:
    """The full names of what a file imports."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{each.name}" for each in names)


def is_of_mail(name: str) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for module in MAIL)


def test_the_outbox_imports_nothing_of_mail() -> None:
    files = {path: text for path, text in sources().items() if path.startswith("outbox/")}
    assert files
    assert {path: name for path, text in files.items() for name in imported(text) if is_of_mail(name)} == {}


def test_the_rule_sees_each_way_to_import_mail() -> None:
    for way in (
        "import smtplib",
        "from email.utils import x",
        "from django.core import mail",
        "import django.core.mail",
    ):
        assert any(map(is_of_mail, imported(way))), way
    assert not any(map(is_of_mail, imported("from emails import x\nfrom django.core import mailer")))
