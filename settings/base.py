"""`EnvSettings`: a frozen, typed view of some variables of the environment. `load()` fills it.

    class RedisProfile(EnvSettings):
        model_config = SettingsConfigDict(env_prefix="REDIS_")

        url: SecretUrl = SecretUrl("redis://localhost:6379/0")
        '''Where Redis is.'''

    (redis,) = load(RedisProfile)        # reads REDIS_URL

The docstring beneath a field is its documentation everywhere: in docs/settings.md, .env.example and
`manage.py config`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, overload

from pydantic import PrivateAttr, Secret, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from settings import PROJECT_ROOT
from settings.environment import DEFAULT, Environment
from settings.errors import SettingsError, describe
from settings.masking import MASK, mask_url
from settings.variables import Variable, plain_text, shown_text

__all__ = ["PROJECT_ROOT", "EffectiveSetting", "EnvSettings", "SettingsConfigDict", "load"]


@dataclass(frozen=True)
class EffectiveSetting:
    """The value of a variable that is in force, as text (secrets masked), and where it was found."""

    name: str
    value: str
    source: str


class EnvSettings(BaseSettings):
    """A group of settings. A variable's name is the class's `env_prefix` and the field's name in upper case.

    A validator of a field raises `ValueError` with what is wrong and the cure, as a text that continues the sentence
    `NAME='value' …`. A validator of the whole model raises it with whole sentences.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        # Pydantic would print a bad URL with its password.
        hide_input_in_errors=True,
    )

    #: Which variable gave a field its value, and where it was found; fields with their default are absent.
    _given: dict[str, tuple[str, str]] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what the constructor is given; `load()` reads the environment, once for all classes.

        Pydantic's own sources forget which variable a value came from and ignore a mistyped one.
        """
        return (init_settings,)

    @classmethod
    def prefix(cls) -> str:
        """Return what the names of this class's variables start with; '' for the service's own."""
        return cls.model_config.get("env_prefix", "")

    @classmethod
    def variables(cls) -> list[Variable]:
        """Return a description of each variable of this class, in the order of its fields."""
        fields = cls.model_fields.items()
        return [Variable.of(f"{cls.prefix()}{field.upper()}", field, info) for field, info in fields]

    @classmethod
    def from_environment(cls, environment: Environment) -> Self:
        """Return the settings that `environment` holds, or raise SettingsError with all their mistakes."""
        names = {each.field: each.name for each in cls.variables() if environment.get(each.name) is not None}
        given = {field: (name, environment.source(name)) for field, name in names.items()}
        return cls._build({field: environment.get(name) for field, name in names.items()}, given)

    def replace(self, *, given_by: str, **values: Any) -> Self:
        """Return a copy with other values, whose source is the variable `given_by`."""
        current = {field: getattr(self, field) for field in type(self).model_fields}
        given = self._given | dict.fromkeys(values, (given_by, given_by))
        return self._build(current | values, given)

    @classmethod
    def _build(cls, values: Mapping[str, Any], given: dict[str, tuple[str, str]]) -> Self:
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise SettingsError(*_problems(cls, error, values, given)) from None
        settings._given = given
        return settings

    def effective(self) -> list[EffectiveSetting]:
        """Return every variable with the value in force, secrets masked, and where that was found."""
        return [
            EffectiveSetting(
                name=each.name,
                value=shown_text(getattr(self, each.field)),
                source=self._given[each.field][1] if each.field in self._given else DEFAULT,
            )
            for each in type(self).variables()
        ]


def _problems(
    cls: type[EnvSettings],
    error: ValidationError,
    values: Mapping[str, Any],
    given: Mapping[str, tuple[str, str]],
) -> Iterator[str]:
    """Yield a line for everything pydantic found wrong, naming the variables instead of the fields."""
    variables = {each.field: each for each in cls.variables()}
    for problem in error.errors(include_url=False, include_input=False):
        variable = variables.get(str(problem["loc"][0])) if problem["loc"] else None
        raised = problem.get("ctx", {}).get("error")
        if isinstance(raised, SettingsError):
            yield from raised.problems
        elif variable is None:
            yield str(raised or problem["msg"])
        else:
            name = given.get(variable.field, (variable.name, ""))[0]
            yield f"{name}{_predicate(variable, problem, values.get(variable.field))}"


def _predicate(variable: Variable, problem: Mapping[str, Any], value: Any) -> str:
    """Return `='value' is wrong: cure`. The value is left out if it is unset, and masked if it is secret."""
    if value is None:
        return f" {describe(problem, '')}"
    text = str(value.get_secret_value()) if isinstance(value, Secret) else plain_text(value)
    shown = mask_url(text) if variable.secret and "://" in text else MASK if variable.secret else text
    return f"={shown!r} {describe(problem, text).replace(text, shown)}"


Only = TypeVar("Only", bound=EnvSettings)


@overload
def load(
    only: type[Only],
    /,
    *,
    also_known: Iterable[type[EnvSettings]] = (),
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> tuple[Only]: ...
@overload
def load(
    *classes: type[EnvSettings],
    also_known: Iterable[type[EnvSettings]] = (),
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> tuple[Any, ...]: ...
def load(
    *classes: type[EnvSettings],
    also_known: Iterable[type[EnvSettings]] = (),
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> tuple[Any, ...]:
    """Return an instance of each class, filled from the environment and `.env`.

    `also_known` are classes whose variables may be set but are not read now (those of the other brokers).
    `environ` and `env_file` take the place of `os.environ` and of `.env` in the project root.
    Raises one SettingsError with the problems of all classes and all mistyped names.
    """
    environment = Environment.read(environ, env_file)
    everyone = [*classes, *also_known]
    known = [variable.name for each in everyone for variable in each.variables()]
    problems = list(environment.mistyped(known, {each.prefix() for each in everyone}))
    loaded = []
    for each in classes:
        try:
            loaded.append(each.from_environment(environment))
        except SettingsError as error:
            problems.extend(error.problems)
    if problems:
        raise SettingsError(*problems)
    return tuple(loaded)
