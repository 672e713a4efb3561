"""Lists the running tasks of the API."""

import asyncio
from types import CodeType

_PACKAGES = ("/explorer_api/", "/runtime/")
"""The packages whose functions the API runs as tasks."""


def tasks_of_the_api() -> list[str]:
    """Return the names of the functions that run as tasks of the API."""
    codes: list[CodeType] = [getattr(task.get_coro(), "cr_code") for task in asyncio.all_tasks()]  # noqa: B009
    return [
        code.co_qualname
        for code in codes
        if any(package in code.co_filename for package in _PACKAGES)
        and "/tests/" not in code.co_filename
    ]
