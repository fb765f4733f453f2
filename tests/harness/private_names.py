"""Which names of libraries our code uses although they are private: they begin with one underscore, and are not ours.

It reads the code, and of classes that are derived from a library's what that library knows. What it cannot see is a
private name of a library that is also one of ours.
"""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pkgutil import resolve_name
from typing import Any

from settings import PROJECT_ROOT

ROOMS = ("app", "brokers", "console", "orders", "outbox", "settings", "workers")

#: Documented, although the names do not look it.
DOCUMENTED = {
    "_display": "pydantic: how a Secret shows itself",
    "_exit": "Python: os._exit",
    "_meta": "Django: a model's Meta",
    "_replace": "Python: a changed copy of a named tuple",
}


@cache
def sources() -> dict[str, str]:
    """The code of the service, by path."""
    paths = [path for room in ROOMS for path in (PROJECT_ROOT / room).rglob("*.py")]
    paths.append(PROJECT_ROOT / "gunicorn.conf.py")
    return {str(path.relative_to(PROJECT_ROOT)): path.read_text() for path in paths}


def private_names() -> set[tuple[str, str]]:
    """The private names of libraries that our code uses, overrides or sets, each with the file that does.

    A name that our code makes is ours, unless a library that a class of ours is derived from knows it too.
    """
    trees = {path: ast.parse(text) for path, text in sources().items()}
    theirs = {(path, name) for path, tree in trees.items() for name in overridden(path, tree)}
    ours = {name for tree in trees.values() for name in made(tree)} - {name for _, name in theirs}
    names = {(path, name) for path, tree in trees.items() for name in used(tree) if is_private(name)}
    return {(path, name) for path, name in names | theirs if name not in ours and name not in DOCUMENTED}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def used(tree: ast.AST) -> Iterator[str]:
    """The names of attributes and imports."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name):
                yield name
            case ast.Call(ast.Name("getattr" | "hasattr" | "setattr" | "delattr"), [_, ast.Constant(name), *_]):
                yield str(name)
            case ast.Import(names) | ast.ImportFrom(names=names):
                imported = [getattr(node, "module", None) or "", *(each.name for each in names)]
                yield from (part for each in imported for part in each.split("."))


def made(tree: ast.AST) -> Iterator[str]:
    """The names of functions, classes, variables and of what is assigned to `self` or `cls`."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                yield name
            case ast.Name(name, ast.Store()) | ast.Attribute(ast.Name("self" | "cls"), name, ast.Store()):
                yield name


def overridden(path: str, tree: ast.Module) -> Iterator[str]:
    """The private names that classes of a file make, and that a base of theirs from a library has or uses."""
    for definition in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        names = set(filter(is_private, made(definition)))
        if names:
            module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            for base in library_bases(f"{module}:{qualified_name(definition, tree)}"):
                yield from names & {*vars(base), *(name for each in vars(base).values() for name in names_in(each))}


def qualified_name(definition: ast.ClassDef, tree: ast.Module) -> str:
    outer = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and definition in node.body]
    return ".".join([*outer, definition.name])


def library_bases(name: str) -> list[type]:
    return [base for base in resolve_name(name).__mro__ if base.__module__.partition(".")[0] not in ROOMS]


def names_in(function: Any) -> tuple[str, ...]:
    """The names that a function of Python's uses; none for anything else."""
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    return code.co_names if code else ()
