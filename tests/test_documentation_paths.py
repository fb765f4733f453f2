"""Every path that the documentation names exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings import PROJECT_ROOT

PAGES = [
    *(PROJECT_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((PROJECT_ROOT / "docs").rglob("*.md")),
]

#: What a path is made of. A placeholder (`<name>`, `…`), a pattern (`*`), a URL or a command has other characters.
PATH = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]*")

ENDINGS = ("/", ".py", ".md", ".yml", ".yaml", ".toml", ".svg", ".png")

#: Directories that the service makes: their files need not be there.
MADE = {"var", "staticfiles"}

ROOMS = {path.name for path in PROJECT_ROOT.iterdir() if path.is_dir() and path.name[0] != "."} - MADE


def links(text: str) -> Iterator[str]:
    """Targets of Markdown links and pictures, and of HTML attributes; without anchors."""
    found = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", text)
    targets = (markdown or html for markdown, html in found)
    return (target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#"))


def quoted_paths(text: str) -> Iterator[str]:
    """Words in backticks that are a path: of a known room or with a known ending."""
    for word in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text):
        first = word.partition("/")[0]
        if PATH.fullmatch(word) and first not in MADE and (word.endswith(ENDINGS) or ("/" in word and first in ROOMS)):
            yield word


def exists(word: str) -> bool:
    """Whether `word` is a path from the root; a name alone (`task.py`, `redis/`) may stand in any room."""
    name = word.rstrip("/")
    if "/" in name or (PROJECT_ROOT / name).exists():
        return (PROJECT_ROOT / name).exists()
    return any(next((PROJECT_ROOT / room).rglob(name), None) for room in ROOMS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    missing = [target for target in links(text) if not (page.parent / target).exists()]
    missing += [word for word in quoted_paths(text) if not exists(word)]
    assert not missing


def test_a_path_that_is_not_there_is_found() -> None:
    text = """[a](b.md#c) [d](https://e.org/f.md) `outbox/nothing.py` `gone.py` `brokerz/`
        `text/html` `brokers/<name>/profile.py` `/orders/` `var/db.sqlite3` `make run`"""
    assert list(links(text)) == ["b.md"]
    assert list(quoted_paths(text)) == ["outbox/nothing.py", "gone.py", "brokerz/"]
    assert not any(map(exists, quoted_paths(text)))
    assert exists("outbox/task.py")
    assert exists("task.py")
