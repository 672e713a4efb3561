"""Lets a coverage-guided fuzzer compare the compiled encoder with the reference.

The fuzzer is libFuzzer, through atheris. docs/testing.md says how to run it; no test needs it.
"""

import os
import sys
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from tests.ledger.compiled_check import load_extension
from tests.ledger.compiled_inputs import from_bytes
from tests.ledger.encoders import compiled, encode_with_both
from tests.ledger.seeded_mutations import mutated


def compare(data: bytes) -> None:
    """Raise an error if the encoders differ about the input in the fuzzer's bytes, and save it."""
    each = from_bytes(data)
    try:
        encode_with_both(each.block, each.owned_below)
    except Exception:
        Path(f"difference-{sha256(data).hexdigest()[:12]}").write_bytes(data)
        raise


def main() -> None:
    load_extension(Path(os.environ["COMPILED_EXTENSION"]))
    assert compiled() is not None
    atheris: Any = import_module("atheris")

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        """Return a mutation: half of them keep the lengths of the messages around it correct."""
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        return (data[:2] + mutated(random, data[2:]))[:max_size]

    command = f"{sys.executable} -m tests.ledger.compiled_fuzz"  # which `-merge` starts again
    atheris.Setup([command, *sys.argv[1:]], compare, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
