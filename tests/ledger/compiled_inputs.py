"""Inputs for comparisons of both encoders: recorded, forged, made and mutated envelopes."""

from collections.abc import Container, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random

from msgspec import Struct

from devnet.forge.forger import Recipe, forge
from ledger.decoding.blocks import read_block
from ledger.model import VALID
from tests.ledger import forging
from tests.ledger.mutations import envelopes
from tests.ledger.random_envelopes import RandomEnvelopes, made_envelope
from tests.ledger.recorded import NAMES, recorded
from tests.ledger.seeded_mutations import mutated
from tests.ledger.wire_format import field

CORPUS = Path(__file__).parent.parent / "fixtures" / "compiled_corpus"
"""The inputs that a fuzzer found, which together reach most branches of the extension."""

_IS_BLOCK, _OWNED_BELOW = 1, 2
_MAX_SOURCE_BYTES = 20_000


class _AllIds(Container[str]):
    def __contains__(self, _: object) -> bool:
        return True


class Input(Struct, frozen=True):
    """A serialized block, and the ids that lower blocks own."""

    block: bytes
    owned_below: Container[str] = ()


def from_bytes(data: bytes) -> Input:
    """Return the input that a fuzzer's bytes mean.

    The first byte has flags: whether a block or an envelope follows, and whether lower blocks own
    all ids. The second byte is the validation code of the envelope.
    """
    head, rest = data[:2].ljust(2, b"\0"), data[2:]
    return Input(
        rest if head[0] & _IS_BLOCK else forging.block([rest], head[1:]),
        _AllIds() if head[0] & _OWNED_BELOW else (),
    )


def corpus(folder: Path) -> Iterator[Input]:
    """Yield the inputs in the files of a folder, which a fuzzer wrote."""
    for path in sorted(folder.iterdir()):
        yield from_bytes(path.read_bytes())


def chains() -> Iterator[Input]:
    """Yield the blocks of the recorded ledgers, and the first blocks of forged chains."""
    for name in NAMES:
        yield from map(Input, recorded(name).blocks)
    for recipe in (
        Recipe(seed=21, signed=False),
        Recipe(seed=22, signed=False, invalid_share=0.5),
        Recipe(seed=23, signed=False, hostile_share=0.5),
        Recipe(seed=24, signed=False, bulk=True, transactions_per_block=100),
    ):
        yield from (Input(block.data) for block in islice(forge(recipe), 30))


def limits() -> Iterator[Input]:
    """Yield envelopes at the limits of sizes and counts."""
    for count in (9_999, 10_000, 10_001, 20_001):
        yield _one(args=field(1, b"a") * count)
        yield from (_one(results=results) for results in _read_write_sets(count - 1))
        yield _one(payload=b"[" + b"1," * (count - 1) + b"1]")
        yield _one(payload=b'["' + b"," * count + b'"]')
        yield _one(endorsements=field(2, field(1, field(1, b"m"))) * count)
    for size in (2**20 - 300, 2**20 - 200, 2**20, 2**20 + 1):
        yield _one(payload=b'{"a":"' + b"a" * (size - 8) + b'"}')
        yield _one(args=field(1, b"f") + field(1, b"\xff" * size))
    for count in (16, 17, 18, 19, 32, 33, 90):
        yield _one(payload=b"[" * count + b"]" * count)
        yield _one(payload=b"[-" + b"9" * count + b"]")
        yield _one(payload=b"{%s}" % b",".join(b'"%d":1' % number for number in range(count)))
    for size in (8_191, 8_192, 8_193):
        yield _one(creator=field(1, b"m" * (size - 3)))
    for size in (2**16, 2**16 + 1):
        yield _one(tx_id="i" * size)
    same_length = [made_envelope(creator=field(1, b"%4d" % number)) for number in range(600)]
    yield Input(forging.block(same_length))
    yield Input(many_identities())
    yield Input(many_identities())


def _read_write_sets(count: int) -> Iterator[bytes]:
    """Yield read/write sets with `count` elements of each kind."""
    element = field(1, b"k")
    yield forging.namespace() * count
    for number in (1, 2, 3):  # reads, range queries, writes
        yield forging.namespace(field(number, element) * count)
    yield forging.namespace(field(2, field(4, field(1, element) * count)))
    yield forging.namespace(collections=field(3, element) * count)
    for number in (1, 2):  # hashed reads and writes
        yield forging.namespace(collections=field(3, field(2, field(number, element) * count)))


def many_identities() -> bytes:
    """Return a block with more identities than the compiled encoder keeps in memory.

    They take 10 MiB in the block, and 20 MiB with their documents.
    """
    names = (b"%08000d" % number for number in range(1_300))
    endorsements = (field(2, field(1, field(1, name))) for name in names)
    parts = iter(lambda: b"".join(islice(endorsements, 100)), b"")
    return forging.block([made_envelope(endorsements=part) for part in parts])


def _one(tx_id: str = "id", **parts: bytes) -> Input:
    return Input(forging.block([made_envelope(tx_id, **parts)], bytes([VALID])))


def mutations(random: Random) -> Iterator[Input]:
    """Yield mutated blocks and envelopes without end."""
    made = RandomEnvelopes(random)
    blocks = [
        raw for name in NAMES for raw in recorded(name).blocks if len(raw) < _MAX_SOURCE_BYTES
    ]

    def envelope() -> bytes:
        kind = random.random()
        if kind < 0.3:
            return made.envelope()
        return mutated(random, random.choice(_sources()) if kind < 0.8 else made.envelope())

    while True:
        if random.random() < 0.1:
            yield Input(mutated(random, random.choice(blocks)))
            continue
        signed = [envelope() for _ in range(random.choice((1, 1, 3)))]
        codes = [random.choice((255, random.randrange(1, 256))) for _ in signed]
        codes[random.randrange(len(codes))] = VALID
        owned = _AllIds() if random.random() < 0.2 else ()
        yield Input(forging.block(signed, bytes(codes)), owned)


@cache
def _sources() -> tuple[bytes, ...]:
    """Return recorded and hostile envelopes from which mutations are made."""
    recipe = Recipe(seed=25, signed=False, hostile_share=0.9)
    blocks = [read_block(block.data) for block in islice(forge(recipe), 40)]
    hostile = [envelope for block in blocks for envelope in block.envelopes]
    return tuple(each for each in (*envelopes(), *hostile) if len(each) < _MAX_SOURCE_BYTES)
