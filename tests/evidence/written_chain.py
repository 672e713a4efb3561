"""A chain whose transactions write what a test says: values, metadata, private hashes."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count

from google.protobuf.timestamp_pb2 import Timestamp

from devnet.forge.chain import Chain
from devnet.forge.chaincodes import KINDLEDGER
from devnet.forge.config_updates import batch_size_update
from devnet.forge.envelopes import EndorserTransaction
from devnet.forge.forger import Recipe
from devnet.forge.network import Network
from ledger.model import VALID
from ledger.state_changes import StateKey
from tests.ledger.wire_format import field

NETWORK = Recipe(seed=33).network()
SPACE = "kindledger"
_SECONDS = 1_800_000_000
_NOTHING: Mapping[StateKey, bytes | None] = {}


def write(key: str, value: bytes | None) -> bytes:
    """Return a public write, or the deletion of a key, as a field of `KVRWSet`."""
    content = field(2, 1) if value is None else field(3, value)
    return field(3, field(1, key.encode()) + content)


def write_metadata(key: str) -> bytes:
    """Return a write of a key's metadata alone, as a field of `KVRWSet`."""
    return field(4, field(1, key.encode()) + field(2, field(1, b"POLICY")))


def private(collection: str, writes: Mapping[str, bytes | None]) -> bytes:
    """Return hashed writes of a collection, as a field of `NsReadWriteSet`."""
    hashed = b"".join(
        field(
            2,
            field(1, sha256(key.encode()).digest())
            + (field(2, 1) if value is None else field(3, sha256(value).digest())),
        )
        for key, value in writes.items()
    )
    return field(3, field(1, collection.encode()) + field(2, hashed))


class WrittenChain:
    """Grows block by block; each block has one VALID transaction for each read/write set."""

    def __init__(self, network: Network = NETWORK) -> None:
        self._network = network
        self._chain = Chain(network)
        self._nonces: Iterator[bytes] = (sha256(b"%d" % n).digest()[:24] for n in count())
        self.blocks = [self._chain.genesis(_SECONDS)]

    def configure(self) -> None:
        """Append a CONFIG block."""
        update = batch_size_update(self._network.channel, self._chain.config, 77)
        admin = self._network.ordering.admin
        self.blocks.append(self._chain.configure(update, [admin], _SECONDS))

    def cut(
        self,
        *public: Sequence[bytes],
        collections: Sequence[bytes] = (),
        codes: Sequence[int] | None = None,
        earlier: Mapping[StateKey, bytes | None] = _NOTHING,
    ) -> None:
        """Append a block; the collections belong to each of its transactions."""
        envelopes = [
            self.transaction(b"".join(each), b"".join(collections)).seal() for each in public
        ]
        codes = codes or [VALID] * len(envelopes)
        self.append(list(zip(envelopes, codes, strict=True)), earlier)

    def append(
        self,
        envelopes: Sequence[tuple[bytes, int]],
        earlier: Mapping[StateKey, bytes | None] = _NOTHING,
    ) -> None:
        """Append a block of envelopes and their validation codes."""
        self.blocks.append(self._chain.cut(envelopes, earlier))

    def transaction(self, public: bytes = b"", collections: bytes = b"") -> EndorserTransaction:
        """Return a transaction that writes this, not sealed yet."""
        space = field(1, SPACE.encode()) + field(2, public) + collections
        return EndorserTransaction(
            channel=self._network.channel,
            chaincode=KINDLEDGER,
            args=[b"f", b"\xff\0", "\N{SNOWMAN}".encode()],
            creator=self._network.client,
            endorsers=self._network.endorsers,
            nonce=next(self._nonces),
            timestamp=Timestamp(seconds=_SECONDS),
            results=field(2, space),
        )
