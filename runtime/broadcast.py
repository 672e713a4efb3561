"""Wakes all tasks that wait for the next change."""

import asyncio


class Broadcast:
    """Lets any number of tasks wait until a change, or an error, is announced.

    The cancellation of one waiting task does not disturb the others.
    """

    def __init__(self) -> None:
        self._next_change: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Wait for the next announcement. Raise the error that it announces, if any."""
        if self._next_change is None:
            self._next_change = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next_change)

    def announce(self, error: BaseException | None = None) -> None:
        """Wake every task that waits now; with `error`, each of them raises it."""
        change, self._next_change = self._next_change, None
        if change is None or change.done():
            return
        if error is None:
            change.set_result(None)
        else:
            change.set_exception(error)
            change.exception()  # else asyncio logs the error if no task raises it
