"""Wakes everybody who waits for the next change of something."""

import asyncio


class Broadcast:
    """Lets any number of tasks wait until somebody announces a change, or an error.

    A task that is cancelled while it waits disturbs no other one.
    """

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    @property
    def awaited(self) -> bool:
        """Whether a task has asked for the next change since the last one."""
        return self._next is not None

    async def wait(self) -> None:
        """Wait for the next change. Raise the error that is announced instead of one."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)

    def announce(self, error: BaseException | None = None) -> None:
        """Wake every task that waits now; with `error` each of them raises it."""
        waited, self._next = self._next, None
        if waited is None or waited.done():
            return
        if error is None:
            waited.set_result(None)
        else:
            waited.set_exception(error)
            waited.exception()  # whoever waited may be gone
