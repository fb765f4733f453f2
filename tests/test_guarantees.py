"""docs/guarantees.md and docs/security.md promise nothing that no test holds."""

import re

import pytest

from settings import PROJECT_ROOT

PAGES = {name: (PROJECT_ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("guarantees", "security")}

#: The rows of the tables of promises, without their heads.
PROMISES = [line for page in PAGES.values() for line in page.splitlines() if re.match(r"\| (?!-|promise \||\| )", line)]


def defined_tests() -> set[str]:
    files = (PROJECT_ROOT / "tests").rglob("test_*.py")
    return {name for file in files for name in re.findall(r"^ *def (test_\w+)", file.read_text("utf-8"), re.M)}


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_exists(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGES[page]))
    assert named
    assert named - defined_tests() == set()


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.split("|")[1].strip()[:60])
def test_every_promise_names_a_test(promise: str) -> None:
    assert "`test_" in promise
