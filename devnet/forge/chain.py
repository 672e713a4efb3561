"""Cuts envelopes into blocks: chained and signed as by the orderer, validated as by a peer."""

from collections.abc import Mapping, Sequence
from typing import Final

from devnet import wire_format
from devnet.forge.config_updates import config_envelope
from devnet.forge.genesis import channel_group, genesis_envelope
from devnet.forge.identities import Signer
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from devnet.forge.state_updates import state_updates
from ledger.commit_hash import commit_hash
from ledger.hashes import block_hash, data_hash, header_bytes
from ledger.state_changes import StateKey
from protos.common_pb2 import (
    Block,
    BlockData,
    BlockHeader,
    BlockMetadata,
    LastConfig,
    Metadata,
    MetadataSignature,
    OrdererBlockMetadata,
    SignatureHeader,
)
from protos.configuration_pb2 import Config, ConfigUpdate
from protos.transaction_pb2 import VALID

_RAFT_ENTRIES_BEFORE_GENESIS = 2
_NO_VALUES: Final[Mapping[StateKey, bytes | None]] = {}


class Chain:
    """The chain of one channel, of which only the head is kept in memory.

    Blocks are serialized `common.Block` messages as a peer serves them, with five metadata entries.
    Times are in seconds since 1970.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self.config = Config(channel_group=channel_group(network))
        """The configuration of the channel after the newest CONFIG block."""
        self.height = 0
        """The number of the next block."""
        self._last_config = 0
        self._previous_hash = b""
        self._commit_hash = b""

    def genesis(self, seconds: int) -> bytes:
        """Return block 0, which has no signature, no LAST_CONFIG and no commit hash.

        Raises RuntimeError if the chain already has a block 0.
        """
        if self.height:
            raise RuntimeError(
                f"block 0 exists and the next block is {self.height}: call cut() or configure()"
            )
        signatures = Metadata(
            value=OrdererBlockMetadata(last_config=LastConfig()).SerializeToString()
        )
        envelopes = [genesis_envelope(self._network, self.config, seconds)]
        header = self._append(envelopes)
        return _block(
            header, envelopes, [signatures.SerializeToString(), b"", bytes((VALID,)), b"", b""]
        )

    def cut(
        self,
        transactions: Sequence[tuple[bytes, int]],
        earlier: Mapping[StateKey, bytes | None] = _NO_VALUES,
    ) -> bytes:
        """Return the next block, made of serialized envelopes and validation codes (0 to 255).

        `earlier` has the earlier values of the keys of which only the metadata is written. Raises
        RuntimeError if the chain has no block 0 yet.
        """
        number = self.height
        if not number:
            raise RuntimeError("the chain has no block 0 yet: call genesis() first")
        envelopes = [envelope for envelope, _ in transactions]
        codes = bytes(code for _, code in transactions)
        header = self._append(envelopes)
        updates = state_updates(number, transactions, earlier)
        self._commit_hash = commit_hash(codes, updates, self._commit_hash)
        metadata = [
            self._signatures(header),
            Metadata(
                value=LastConfig(index=self._last_config).SerializeToString()
            ).SerializeToString(),
            codes,
            b"",
            Metadata(value=self._commit_hash).SerializeToString(),
        ]
        return _block(header, envelopes, metadata)

    def configure(self, update: ConfigUpdate, admins: Sequence[Signer], seconds: int) -> bytes:
        """Return the next block: one CONFIG envelope with the update, signed by `admins`."""
        envelope, self.config = config_envelope(
            self.config,
            update,
            admins=admins,
            orderer=self._network.ordering.orderer,
            seconds=seconds,
            random=self._random_stream(f"configuration/{self.height}"),
        )
        self._last_config = self.height
        return self.cut([(envelope, VALID)])

    def _append(self, envelopes: list[bytes]) -> BlockHeader:
        header = BlockHeader(
            number=self.height, previous_hash=self._previous_hash, data_hash=data_hash(envelopes)
        )
        self._previous_hash = block_hash(header.number, header.previous_hash, header.data_hash)
        self.height += 1
        return header

    def _signatures(self, header: BlockHeader) -> bytes:
        """Return the SIGNATURES entry as a Raft orderer makes it."""
        orderer = self._network.ordering.orderer
        value = OrdererBlockMetadata(
            last_config=LastConfig(index=self._last_config),
            consenter_metadata=_raft_metadata(header.number + _RAFT_ENTRIES_BEFORE_GENESIS),
        ).SerializeToString()
        signature_header = SignatureHeader(
            creator=orderer.serialized,
            nonce=self._random_stream(f"orderer/{header.number}").nonce(),
        ).SerializeToString()
        signed = (
            value
            + signature_header
            + header_bytes(header.number, header.previous_hash, header.data_hash)
        )
        signature = MetadataSignature(
            signature_header=signature_header, signature=orderer.sign(signed)
        )
        return Metadata(value=value, signatures=[signature]).SerializeToString()

    def _random_stream(self, purpose: str) -> RandomStream:
        return RandomStream(f"{self._network.seed}/{self._network.channel}/{purpose}")


def _raft_metadata(raft_index: int) -> bytes:
    """Return `etcdraft.BlockMetadata` of a single consenter, in a `common.Metadata`."""
    consenter_ids = wire_format.field(1, wire_format.varint(1))
    block_metadata = consenter_ids + wire_format.integer(2, 2) + wire_format.integer(3, raft_index)
    return Metadata(value=block_metadata).SerializeToString()


def _block(header: BlockHeader, envelopes: list[bytes], metadata: list[bytes]) -> bytes:
    """Return the serialized block; encoding its many large parts by hand is five times faster."""
    data = b"".join(
        wire_format.field(BlockData.DATA_FIELD_NUMBER, envelope) for envelope in envelopes
    )
    return b"".join(
        (
            wire_format.field(Block.HEADER_FIELD_NUMBER, header.SerializeToString()),
            wire_format.field(Block.DATA_FIELD_NUMBER, data),
            wire_format.field(
                Block.METADATA_FIELD_NUMBER, BlockMetadata(metadata=metadata).SerializeToString()
            ),
        )
    )
