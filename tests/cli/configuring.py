"""Helpers to write configuration files and to read the message about a mistake in them."""

from pathlib import Path

import pytest

from cli.configuration.loading import load_settings
from cli.errors import ConfigurationError


def write(folder: Path, text: str, name: str = "kindledger.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def mistake(path: Path | None = None) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load_settings(path)
    return str(raised.value)
