"""Delays between tries: exponential, with full jitter, so that many clients do not come back at once."""

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
        """Return the seconds to wait before the next try."""
        bound, self._bound = self._bound, min(self._bound * 2, self._maximum)
        return self._draw(0, bound)

    def reset(self) -> None:
        """Begin with the initial bound again, after a success."""
        self._bound = self._initial
