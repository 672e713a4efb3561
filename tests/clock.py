"""A clock for classes that take their clock as an argument."""


class Clock:
    """Shows the time `now`, which the test sets."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
