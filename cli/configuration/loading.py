"""Reads the configuration from a TOML file and the environment, and checks all of it."""

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
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
from indexer.pipeline.encoders import PURE_VARIABLE

PREFIX = "KINDLEDGER_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
_DELIMITER = "__"


class _FileAndEnvironment(Settings, BaseSettings):
    """Settings that environment variables override: `KINDLEDGER_MONGO__URI` is `mongo.uri`."""

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
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature of pydantic
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in the order of their precedence: environment, then file."""
        return env_settings, init_settings


def load_settings(path: Path | None) -> Settings:
    """Read the configuration file and the environment.

    The file is `path`, else the one that KINDLEDGER_CONFIG names, else there is none. Raises
    `ConfigurationError` with every mistake, and with the most similar valid name of an unknown key.
    """
    file = path or os.environ.get(CONFIG_VARIABLE)
    values = _read_toml(Path(file)) if file else {}
    mistakes = list(_unknown_variables(os.environ))
    settings = Settings()
    try:
        settings = _FileAndEnvironment(**values)
    except ValidationError as error:
        mistakes += [
            _describe_mistake(dict(detail))
            for detail in error.errors(include_url=False, include_input=False)
        ]
    except SettingsError as error:  # its text does not name the variable
        mistakes += list(_variables_without_json(os.environ)) or [str(error)]
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
    """Yield the mistake of each variable with our prefix that belongs to no section."""
    valid = [_variable(path) for path in _paths(Settings, ())]
    for name in sorted(environment):
        top = name.removeprefix(PREFIX).split(_DELIMITER)[0].lower()
        if (
            name.upper().startswith(PREFIX)
            and name not in (CONFIG_VARIABLE, PURE_VARIABLE)
            and top not in Settings.model_fields
        ):
            yield f"{name}: unknown variable{_suggest(name.upper(), valid)}"


def _variables_without_json(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the mistake of each variable that must hold a list or table as JSON and does not."""
    fields = {_variable(path): (path, annotation) for path, annotation in _fields(Settings, ())}
    for name, text in sorted(environment.items()):
        path, annotation = fields.get(name.upper(), ((), str))
        if _is_compound(annotation) and not _is_json(text):
            yield f'{".".join(path)} ({name}): takes JSON, for example ["a", "b"]'


def _is_compound(annotation: Any) -> bool:
    return get_origin(annotation) in (tuple, dict) or any(map(_is_compound, get_args(annotation)))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _describe_mistake(detail: dict[str, Any]) -> str:
    location = tuple(str(part) for part in detail["loc"])
    key = f"{'.'.join(location)} ({_variable(location)})"
    if detail["type"] == "tuple_type":
        return f'{key}: takes a list, for example ["a", "b"]'
    if detail["type"] == "extra_forbidden":
        valid = [".".join(path) for path in _paths(Settings, ())]
        return f"{key}: unknown key{_suggest('.'.join(location), valid)}"
    return f"{key}: {detail['msg']}"


def _suggest(name: str, valid: Sequence[str]) -> str:
    """Return a question with the most similar valid name, or nothing if none is similar."""
    matches = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f", did you mean {matches[0]}?" if matches else ""


def _variable(path: tuple[str, ...]) -> str:
    return PREFIX + _DELIMITER.join(path).upper()


def _paths(model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (path for path, _ in _fields(model, prefix))


def _fields(
    model: type[BaseModel], prefix: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the type of each setting."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _fields(annotation, (*prefix, name))
        else:
            yield (*prefix, field.alias or name), annotation
