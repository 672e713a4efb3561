"""The ledger as the decoder reads it: blocks, transactions, read/write sets, events.

Immutable and free of I/O. Bytes stay bytes here; how they are kept is a matter of `ledger.documents`.
Nothing here forms a cycle, so the garbage collector is spared the look (`gc=False`).
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

VALID = 0
"""The validation code of a transaction that Fabric applied to the state."""


class Timestamp(Struct, frozen=True, gc=False):
    """What the client claimed, in seconds and nanoseconds since 1970; any int64 and int32 occurs."""

    seconds: int
    nanos: int


class Identity(Struct, frozen=True, gc=False):
    """A creator, endorser or signer.

    `subject` (RFC 4514) and `fingerprint` (SHA-256 of the certificate's DER, hex) belong to x509 only.
    `digest` (SHA-256 of the identity's bytes, hex) stands for the other kinds.
    """

    msp_id: str
    kind: Literal["x509", "idemix", "unknown"]
    subject: str | None = None
    fingerprint: str | None = None
    digest: str | None = None


class Signer(Struct, frozen=True, gc=False):
    """Who signed a block: a certificate (Raft) or the id of a consenter in the channel configuration (SmartBFT)."""

    identity: Identity | None
    consenter_id: int | None


class Version(Struct, frozen=True, gc=False):
    """Position of the transaction that wrote a key."""

    block: int
    transaction: int


class Read(Struct, frozen=True, gc=False):
    """A key that was read; `version` is None if the key did not exist."""

    key: str
    version: Version | None


class Write(Struct, frozen=True, gc=False):
    """A key that was written, or deleted (then `value` is empty)."""

    key: str
    value: bytes
    is_delete: bool


class MerkleSummary(Struct, frozen=True, gc=False):
    """The results of a large range query, as a Merkle tree's top."""

    max_degree: int
    max_level: int
    hashes: tuple[bytes, ...]


class RangeQuery(Struct, frozen=True, gc=False):
    """A range that was read; its results are in `reads`, or summarised in `merkle`, or neither."""

    start_key: str
    end_key: str
    exhausted: bool
    reads: tuple[Read, ...] | None
    merkle: MerkleSummary | None


class MetadataEntry(Struct, frozen=True, gc=False):
    """One metadata entry of a key, such as its own endorsement policy (VALIDATION_PARAMETER)."""

    name: str
    value: bytes


class MetadataWrite(Struct, frozen=True, gc=False):
    """New metadata of a key (a hash of the key, in a private collection)."""

    key: str | bytes
    entries: tuple[MetadataEntry, ...]


class HashedRead(Struct, frozen=True, gc=False):
    """A private key that was read."""

    key_hash: bytes
    version: Version | None


class HashedWrite(Struct, frozen=True, gc=False):
    """A private key that was written, deleted, or purged with its history."""

    key_hash: bytes
    value_hash: bytes
    is_delete: bool
    is_purge: bool


class CollectionHashes(Struct, frozen=True, gc=False):
    """What the ledger holds of the private data of one collection."""

    collection: str
    reads: tuple[HashedRead, ...]
    writes: tuple[HashedWrite, ...]
    metadata_writes: tuple[MetadataWrite, ...]
    private_rwset_hash: bytes


class ReadWriteSet(Struct, frozen=True, gc=False):
    """Reads and writes of one namespace (a chaincode's name)."""

    namespace: str
    reads: tuple[Read, ...]
    writes: tuple[Write, ...]
    range_queries: tuple[RangeQuery, ...]
    metadata_writes: tuple[MetadataWrite, ...]
    collections: tuple[CollectionHashes, ...]


class ChaincodeEvent(Struct, frozen=True, gc=False):
    """The event that a chaincode set. `tx_id` is what the endorser wrote; the header's id is what counts."""

    chaincode_id: str
    tx_id: str
    name: str
    payload: bytes


class Response(Struct, frozen=True, gc=False):
    """What the chaincode answered."""

    status: int
    message: str
    payload: bytes


class Chaincode(Struct, frozen=True, gc=False):
    """A chaincode as an envelope names it."""

    name: str
    version: str


class Action(Struct, frozen=True, gc=False):
    """One action of an endorser transaction, as far as it could be decoded."""

    chaincode: Chaincode | None
    args: tuple[bytes, ...]
    is_init: bool
    endorsers: tuple[Identity | None, ...]
    response: Response | None
    rwsets: tuple[ReadWriteSet, ...]
    event: ChaincodeEvent | None


class Lifecycle(Struct, frozen=True, gc=False, rename="camel"):
    """A chaincode definition that an organisation approved, or that the channel committed."""

    kind: Literal["approve", "commit"]
    name: str
    version: str
    sequence: int
    init_required: bool
    collections: tuple[str, ...]
    package_id: str | None


class Organisation(Struct, frozen=True, gc=False, rename="camel"):
    """An organisation of the application or of the ordering service, from the channel configuration."""

    name: str
    msp_id: str | None
    msp_type: int | None
    root_fingerprints: tuple[str, ...]
    endpoints: tuple[str, ...]
    anchor_peers: tuple[str, ...]


class Consenter(Struct, frozen=True, gc=False, rename="camel"):
    """A node of the ordering service; `id`, `msp_id` and `fingerprint` are SmartBFT's."""

    host: str
    port: int
    id: int | None = None
    msp_id: str | None = None
    fingerprint: str | None = None


class Capabilities(Struct, frozen=True, gc=False):
    """Names of the required capabilities, such as V2_5, by level."""

    channel: tuple[str, ...]
    orderer: tuple[str, ...]
    application: tuple[str, ...]


class Policy(Struct, frozen=True, gc=False):
    """A policy by its path, such as /Channel/Readers, in words."""

    path: str
    rule: str


class Acl(Struct, frozen=True, gc=False):
    """The policy that guards a resource of the peer, such as event/Block."""

    resource: str
    policy: str


class ChannelConfig(Struct, frozen=True, gc=False, rename="camel"):
    """What a CONFIG envelope says of the channel; None where it says nothing."""

    sequence: int
    organisations: tuple[Organisation, ...]
    orderer_organisations: tuple[Organisation, ...]
    orderer_addresses: tuple[str, ...]
    consensus_type: str | None
    consenters: tuple[Consenter, ...]
    batch_timeout: str | None
    max_message_count: int | None
    absolute_max_bytes: int | None
    preferred_max_bytes: int | None
    capabilities: Capabilities
    policies: tuple[Policy, ...]
    acls: tuple[Acl, ...]


class ClaimedIds(Struct, frozen=True, gc=False):
    """What an envelope's channel header says of it, as far as it can be read; the id is "" where it cannot."""

    tx_id: str
    channel_id: str | None


class Transaction(Struct, frozen=True, gc=False):
    """An envelope of a block, whatever is wrong with it. `errors` names what could not be decoded."""

    index: int
    code: int
    envelope_hash: bytes
    envelope_size: int
    type: int | None
    channel_id: str | None
    tx_id: str
    timestamp: Timestamp | None
    creator: Identity | None
    chaincode_id: str | None
    actions: tuple[Action, ...]
    config: ChannelConfig | None
    lifecycle: Lifecycle | None
    errors: tuple[str, ...]


class Block(Struct, frozen=True, gc=False):
    """A block whose hashes and filter hold. `size` counts the bytes of its envelopes: equal on every peer.

    `transactions` may decode an envelope each time it is asked for, so that never all of a block are in memory at once;
    `claims` has of each envelope what is needed to tell where it belongs.
    """

    number: int
    hash: bytes
    previous_hash: bytes
    data_hash: bytes
    commit_hash: bytes
    codes: bytes
    last_config: int | None
    signers: tuple[Signer, ...]
    size: int
    claims: tuple[ClaimedIds, ...]
    transactions: Sequence[Transaction]
