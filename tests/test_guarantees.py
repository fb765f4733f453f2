"""docs/guarantees.md promises nothing that no test holds."""

import re

import pytest

from settings import PROJECT_ROOT

GUARANTEES = (PROJECT_ROOT / "docs" / "guarantees.md").read_text("utf-8")

#: The rows of the table of promises, without its head.
PROMISES = [line for line in GUARANTEES.splitlines() if line.startswith("| ")][2:]


def defined_tests() -> set[str]:
    files = (PROJECT_ROOT / "tests").rglob("test_*.py")
    return {name for file in files for name in re.findall(r"^ *def (test_\w+)", file.read_text("utf-8"), re.M)}


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", GUARANTEES))
    assert named
    assert named - defined_tests() == set()


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.split("|")[1].strip()[:60])
def test_every_promise_names_a_test(promise: str) -> None:
    assert "`test_" in promise
