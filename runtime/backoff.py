"""Delays between tries: exponential, with full jitter, so that many clients do not come back at once."""

import random
from collections.abc import Callable


class Backoff:
    """Each delay is drawn between nothing and a bound that doubles from `initial` to `maximum` seconds."""

    def __init__(
        self,
        initial: float = 0.2,
        maximum: float = 20.0,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._initial, self._maximum, self._draw = initial, maximum, draw
        self._bound = initial

    def next_delay(self) -> float:
        """Seconds to wait before the next try."""
        bound, self._bound = self._bound, min(self._bound * 2, self._maximum)
        return self._draw(0, bound)

    def reset(self) -> None:
        """Begins anew, after progress."""
        self._bound = self._initial
