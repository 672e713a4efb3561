"""Removes passwords and tokens from settings, addresses and error texts before they are shown."""

import re
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cli.configuration.settings import Settings

_HIDDEN = "***"
_SECRET_PARAMETERS = ("password", "token", "secret", "properties")


def redact_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings by section, without secrets."""
    return {key: _redact(value) for key, value in settings.model_dump(by_alias=True).items()}


def _redact(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(item) for item in value]
    if isinstance(value, SecretStr):
        return redact_uri(value.get_secret_value())
    return str(value) if isinstance(value, Path) else value


def redact_uri(uri: str) -> str:
    """Return an address without its password; a text without a scheme is hidden completely."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _HIDDEN
    user, at, location = rest.rpartition("@")
    login = f"{user.split(':')[0]}:{_HIDDEN}@" if at else ""
    path, question, query = location.partition("?")
    parameters = "&".join(map(_redact_parameter, query.split("&")))
    return f"{scheme}://{login}{path}{question}{parameters}"


def _redact_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    secret = any(word in name.lower() for word in _SECRET_PARAMETERS)
    return f"{name}{equals}{_HIDDEN}" if secret else parameter


def unusable_address(address: str, error: Exception) -> str:
    """Return why an address cannot be used: the library's error, unless it quotes a secret."""
    secret_words = _words(address) - _words(redact_uri(address))
    if secret_words & _words(str(error)):
        return (
            "not an address of the expected form; in user and password, the characters "
            ": / ? # [ ] @ % must be percent-encoded"
        )
    return f"not an address of the expected form: {error}"


def _words(text: str) -> set[str]:
    """Return the words of a text in lower case, the smallest pieces that a library may quote."""
    return set(re.findall(r"\w+", text.casefold()))
