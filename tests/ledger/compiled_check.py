"""Compares a build of the compiled encoder with the reference, on many forms of envelopes.

    python -m tests.ledger.compiled_check [--extension PATH] [--seconds N] [--seed S] [--corpus DIR]

It prints what it compared. At the first difference, it saves the block and exits with status 1.
"""

import sys
import tempfile
import time
import traceback
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from itertools import chain
from pathlib import Path
from random import Random

from tests.ledger.compiled_inputs import Input, chains, corpus, limits, mutations
from tests.ledger.encoders import compiled, encode_with_both

_EXTENSION = "ledger.compiled._blocks"


def load_extension(path: Path) -> None:
    """Load this build of the extension in place of the installed one."""
    spec = spec_from_file_location(
        _EXTENSION, path, loader=ExtensionFileLoader(_EXTENSION, str(path))
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[_EXTENSION] = module = module_from_spec(spec)
    spec.loader.exec_module(module)


def find_difference(inputs: Iterator[Input], seconds: float) -> tuple[int, Input | None]:
    """Compare the inputs until the time is over.

    Return how many inputs were compared, and the one for which the encoders differ.
    """
    end, count = time.monotonic() + seconds, 0
    for each in inputs:
        if time.monotonic() > end:
            break
        count += 1
        try:
            encode_with_both(each.block, each.owned_below)
        except Exception:  # noqa: BLE001 - a wrong build may raise any error
            traceback.print_exc()
            return count, each
    return count, None


def main() -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--extension", type=Path, help="a build of the extension (.so)")
    parser.add_argument("--seconds", type=float, default=15, help="the time for mutations")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the mutations")
    parser.add_argument("--corpus", type=Path, help="a folder with inputs of the fuzzer")
    options = parser.parse_args()
    if options.extension is not None:
        load_extension(options.extension)
    assert compiled() is not None, "the extension is not installed"
    fixed = chain(chains(), limits(), corpus(options.corpus) if options.corpus else ())
    for name, inputs, seconds in (
        ("fixed inputs", fixed, float("inf")),
        (f"mutations with seed {options.seed}", mutations(Random(options.seed)), options.seconds),
    ):
        print(f"Comparing {name}", flush=True)
        count, different = find_difference(inputs, seconds)
        if different is not None:
            path = Path(tempfile.mkdtemp()) / f"seed-{options.seed}-input-{count}.block"
            path.write_bytes(different.block)
            print(f"The encoders differ at input {count} of {name}: see {path}")
            return 1
        print(f"The encoders agree about {count} {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
