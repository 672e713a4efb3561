"""Writes docs/api.md from the route table (a developer's tool)."""

import sys
from pathlib import Path
from typing import Final

from explorer_api.docs.markdown import write_markdown
from explorer_api.docs.reference import reference
from explorer_api.routes import ROUTES

TARGET: Final = Path(__file__).parent.parent / "docs" / "api.md"

_NOTICE: Final = (
    "<!-- Made by `make docs` from routes.py and docs/guide.py of explorer_api: "
    "change those. -->\n\n"
)


def generated() -> str:
    """Return the content that the file must have."""
    return _NOTICE + write_markdown(reference(ROUTES))


if __name__ == "__main__":
    TARGET.write_text(generated(), encoding="utf-8")
    print(f"{TARGET} written", file=sys.stderr)
