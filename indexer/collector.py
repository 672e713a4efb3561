"""Spares Python's garbage collector work that finds nothing."""

import gc


def calm_collector() -> None:
    """Makes cyclic collection rare: call once, when everything is imported.

    Decoding makes and drops thousands of containers a second, none of them in a cycle; at the default thresholds the
    collector looks through them, and all of the program, again and again: a quarter of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
