"""The name and the version of the program."""

from importlib.metadata import version
from typing import Final

_NAME: Final = "kindledger-explorer"

VERSION: Final = version(_NAME)

PROGRAM: Final = f"{_NAME} {VERSION}"
"""The program as migrations record it in the business schema."""
