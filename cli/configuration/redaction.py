"""What may be shown of a configuration: no password, and no address with one."""

import re
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cli.configuration.settings import Settings

_HIDDEN = "***"
_SECRET_PARAMETERS = ("password", "token", "secret", "properties")


def redacted(settings: Settings) -> dict[str, Any]:
    """The configuration in effect, as it may be shown."""
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
    """An address without its password, wherever in it; what has no scheme is hidden as a whole."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _HIDDEN
    user, at, place = rest.rpartition("@")
    login = f"{user.split(':')[0]}:{_HIDDEN}@" if at else ""
    path, question, query = place.partition("?")
    parameters = "&".join(map(_redact_parameter, query.split("&")))
    return f"{scheme}://{login}{path}{question}{parameters}"


def _redact_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    secret = any(word in name.lower() for word in _SECRET_PARAMETERS)
    return f"{name}{equals}{_HIDDEN}" if secret else parameter


def unusable_address(address: str, error: Exception) -> str:
    """Why an address cannot be used, in a library's words unless they repeat what must not be shown."""
    hidden = _words(address) - _words(redact_uri(address))
    if hidden & _words(str(error)):
        return (
            "not an address of the expected form; in user and password, the characters : / ? # [ ] @ % must be "
            "percent-encoded"
        )
    return f"not an address of the expected form: {error}"


def _words(text: str) -> set[str]:
    """What parsers cut addresses into, at the finest; some change the case."""
    return set(re.findall(r"\w+", text.casefold()))
