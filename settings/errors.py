"""The error about mistakes in the environment, and its words.

SettingsError
    One line per problem: the variable, its value (secrets masked), why it is wrong, and the cure.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


class SettingsError(ValueError):
    """Raised when variables of the environment are wrong; `problems` holds a line for each, sorted."""

    def __init__(self, *problems: str) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(self.problems))


def nearest(word: str, choices: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the choice that `word` was most likely meant to be, whatever its case, or None."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[close[0]] if close else None


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ` Did you mean 'redis'?`, or nothing when no choice is near. `prod` is near `production`."""
    names = list(choices)
    begun = [name for name in names if len(word) > 1 and name.lower().startswith(word.lower())]
    meant = begun[0] if len(begun) == 1 else nearest(word, names)
    return f" Did you mean {meant!r}?" if meant else ""


def choose_from(value: str, choices: Iterable[str]) -> str:
    """Return the cure for a value outside `choices`: `choose redis, rabbitmq or sqs. Did you mean 'sqs'?`"""
    names = list(choices)
    return f"choose {any_of(names)}.{did_you_mean(value, names)}"


def any_of(names: Iterable[str]) -> str:
    """Return `a`, `a or b`, `a, b or c`."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def describe(problem: Mapping[str, Any], value: str) -> str:
    """Say in a person's words what pydantic found wrong with `value`; the variable's name goes before it.

    `problem` is one entry of `ValidationError.errors()`. The text of a `ValueError` that a validator of ours raised
    is returned as it is: it continues the sentence `NAME='value' …`.
    """
    context = problem.get("ctx", {})
    match problem["type"]:
        case "value_error":
            return str(context["error"])
        case "missing":
            return "is not set, and it has no default."
        case "literal_error" | "enum":
            choices = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            return f"is not known: {choose_from(value, choices)}"
        case "bool_parsing" | "bool_type":
            return "is neither true nor false: write true or false."
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return "is not a whole number: write digits only, such as 10."
        case "float_parsing" | "float_type" | "finite_number":
            return "is not a number: write one such as 2 or 0.5."
        case "path_not_file" | "path_not_directory" | "path_not_exists":
            return "does not exist: give the path of a file that can be read."
        case kind if kind in _BOUNDS:
            words, bound = _BOUNDS[kind]
            limit = context[bound]
            return words.format(f"{limit:g}" if isinstance(limit, float) else limit)
        case kind if kind.startswith("url_"):
            return f"is not a URL ({context.get('error', 'it cannot be parsed')}): write scheme://host:port/path."
    return f"will not do: {problem['msg'][:1].lower()}{problem['msg'][1:]}."


_BOUNDS = {
    "greater_than_equal": ("is too small: the least is {}.", "ge"),
    "greater_than": ("is too small: it must be more than {}.", "gt"),
    "less_than_equal": ("is too large: the most is {}.", "le"),
    "less_than": ("is too large: it must be less than {}.", "lt"),
    "string_too_short": ("is too short: it needs at least {} characters.", "min_length"),
    "string_too_long": ("is too long: it may have {} characters.", "max_length"),
    "too_short": ("has too few entries: it needs at least {}, separated by commas.", "min_length"),
    "string_pattern_mismatch": ("does not have the form {}.", "pattern"),
}
