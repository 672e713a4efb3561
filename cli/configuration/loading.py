"""Reads the configuration: TOML from the named file, overridden by the environment, checked as a whole."""

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from cli.configuration.settings import Settings
from cli.errors import ConfigurationError

PREFIX = "KINDLEDGER_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
_DELIMITER = "__"


class _FileAndEnvironment(Settings, BaseSettings):
    """The same, read from the environment before the values given: `KINDLEDGER_MONGO__URI` is `mongo.uri`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=_DELIMITER,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before the file."""
        return env_settings, init_settings


def load_settings(path: Path | None) -> Settings:
    """Reads the file (`path`, else the one that KINDLEDGER_CONFIG names, else none) and the environment.

    Raises `ConfigurationError` that lists every mistake, with the nearest right name of an unknown key.
    """
    named = path or os.environ.get(CONFIG_VARIABLE)
    values = _read_toml(Path(named)) if named else {}
    mistakes = list(_unknown_variables(os.environ))
    settings = Settings()
    try:
        settings = _FileAndEnvironment(**values)
    except ValidationError as error:
        mistakes += [
            _mistake(dict(detail))
            for detail in error.errors(include_url=False, include_input=False)
        ]
    except SettingsError as error:  # names no variable
        mistakes += list(_unreadable_variables(os.environ)) or [str(error)]
    if mistakes:
        raise ConfigurationError("configuration: " + "; ".join(mistakes))
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables with our prefix that no setting has: most often `_` where `__` belongs."""
    known = {_variable(path): path for path in _paths(Settings, ())}
    for name in sorted(environment):
        top = name.removeprefix(PREFIX).split(_DELIMITER)[0].lower()
        if (
            name.upper().startswith(PREFIX)
            and name != CONFIG_VARIABLE
            and top not in Settings.model_fields
        ):
            yield f"{name}: unknown variable{_nearest(name.upper(), known)}"


def _unreadable_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables of what is a list or table and is not written as JSON."""
    known = {_variable(path): (path, annotation) for path, annotation in _fields(Settings, ())}
    for name, text in sorted(environment.items()):
        path, annotation = known.get(name.upper(), ((), str))
        if _is_compound(annotation) and not _is_json(text):
            yield f'{".".join(path)} ({name}): takes JSON, a list such as ["a", "b"]'


def _is_compound(annotation: Any) -> bool:
    return get_origin(annotation) in (tuple, dict) or any(map(_is_compound, get_args(annotation)))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _mistake(detail: dict[str, Any]) -> str:
    location = tuple(str(part) for part in detail["loc"])
    key = f"{'.'.join(location)} ({_variable(location)})"
    if detail["type"] == "tuple_type":
        return f'{key}: takes a list, such as ["a", "b"]'
    if detail["type"] == "extra_forbidden":
        known = [".".join(path) for path in _paths(Settings, ())]
        return f"{key}: unknown key{_nearest('.'.join(location), known)}"
    return f"{key}: {detail['msg']}"


def _nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {matches[0]}?" if matches else ""


def _variable(path: tuple[str, ...]) -> str:
    return PREFIX + _DELIMITER.join(path).upper()


def _paths(model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (path for path, _ in _fields(model, prefix))


def _fields(
    model: type[BaseModel], prefix: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Where each setting stands, and its type."""
    for name, field in model.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield from _fields(part, (*prefix, name))
        else:
            yield (*prefix, field.alias or name), part
