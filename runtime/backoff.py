"""Delays between attempts: exponential, with full jitter, so that clients do not retry in step."""

import random
from collections.abc import Callable


class Backoff:
    """Draws each delay between 0 and a bound that doubles from `initial` to `maximum` seconds."""

    def __init__(
        self,
        initial: float = 0.2,
        maximum: float = 20.0,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._initial, self._maximum, self._draw = initial, maximum, draw
        self._bound = initial

    def next_delay(self) -> float:
        """Return the number of seconds to wait before the next attempt."""
        bound, self._bound = self._bound, min(self._bound * 2, self._maximum)
        return self._draw(0, bound)

    def reset(self) -> None:
        """Start with the initial bound again; call this after a success."""
        self._bound = self._initial
