"""Writes docs/settings.md and .env.example from the classes of settings."""

import re
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from pathlib import Path
from textwrap import wrap

from settings import PROJECT_ROOT
from settings.base import EnvSettings
from settings.variables import Variable

Classes = Iterable[type[EnvSettings]]

WRITE_COMMAND = "python manage.py config --write-docs"

_PAGE = f"""\
# Settings

<!-- Written by `{WRITE_COMMAND}` from the classes in settings/ and brokers/.
     Change those, not this page. -->

Every setting is an environment variable, in upper case. `.env` in the project's directory, or the file that ENV_FILE
names, is read too; the environment takes precedence over it. An empty variable counts as unset. When a process starts,
it reports all wrong values and all names that look mistyped, each with the cure. `python manage.py config` shows the
values in force and where each came from; secrets are never shown.

Relative paths are relative to the project's directory.
"""

_EXAMPLE = f"""\
# Copy this file to .env and uncomment what you change; the values are the defaults. docs/settings.md says the same
# in tables. Written by `{WRITE_COMMAND}`.
"""

_WIDTH = 110


def settings_page(classes: Classes) -> str:
    """Return the text of docs/settings.md."""
    return "\n".join([_PAGE, *(line for each in classes for line in _section(each))])


def example_file(classes: Classes) -> str:
    """Return the text of .env.example: every variable, commented out, with its default."""
    return "\n".join([_EXAMPLE, *(line for each in classes for line in _block(each))])


def write(classes: Classes, root: Path = PROJECT_ROOT) -> list[Path]:
    """Write both files beneath `root` and return their paths."""
    texts = {
        root / "docs" / "settings.md": settings_page(classes),
        root / ".env.example": example_file(classes),
    }
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return list(texts)


def title(settings: type[EnvSettings]) -> str:
    """Return the first sentence of the class's docstring, as a heading."""
    return _docstring(settings)[0]


def _docstring(settings: type[EnvSettings]) -> tuple[str, str]:
    """Return the first sentence without its full stop, and the rest."""
    text = cleandoc(settings.__doc__ or settings.__name__)
    heading, *rest = re.split(r"\.(?:\s+|$)", text, maxsplit=1)
    return " ".join(heading.split()), "".join(rest)


def _section(settings: type[EnvSettings]) -> Iterator[str]:
    heading, introduction = _docstring(settings)
    yield f"## {heading}\n"
    if introduction:
        yield f"{introduction}\n"
    yield "| Variable | Type | Default | Meaning |"
    yield "| --- | --- | --- | --- |"
    for each in settings.variables():
        cells = f"`{each.name}`", each.type, _default(each), each.description
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _default(variable: Variable) -> str:
    if variable.default_in_words:
        return variable.default
    return f"`{variable.default}`" if variable.default else "unset"


def _block(settings: type[EnvSettings]) -> Iterator[str]:
    heading, introduction = _docstring(settings)
    yield f"# ---- {heading} ".ljust(_WIDTH, "-")
    for paragraph in introduction.split("\n\n"):
        yield from _comment(paragraph)
    yield ""
    for each in settings.variables():
        yield from _comment(each.description)
        yield from _comment(f"[{each.type}; {each.default}]" if each.default_in_words else f"[{each.type}]")
        value = "" if each.default_in_words else each.default
        yield f'#{each.name}="{value}"' if " " in value else f"#{each.name}={value}"
        yield ""


def _comment(text: str) -> list[str]:
    return wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
