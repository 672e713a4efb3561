"""The ledger as it is decoded: blocks, transactions, read/write sets, events.

The classes are immutable. Bytes stay bytes here; `ledger.documents` decides how they are stored.
The objects form no reference cycles, so the garbage collector need not track them (`gc=False`).
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

VALID = 0
"""The validation code of a transaction whose writes Fabric applied to the state."""


class Timestamp(Struct, frozen=True, gc=False):
    """The time that the client claimed, in seconds and nanoseconds since 1970.

    Any int64 and any int32 can occur.
    """

    seconds: int
    nanos: int


class Identity(Struct, frozen=True, gc=False):
    """The identity of a creator, an endorser or a signer.

    An identity of kind `x509` has `subject` (RFC 4514) and `fingerprint` (the SHA-256 of the
    certificate's DER in hex). The other kinds have `digest` (the SHA-256 of the identity's bytes in
    hex).
    """

    msp_id: str
    kind: Literal["x509", "idemix", "unknown"]
    subject: str | None = None
    fingerprint: str | None = None
    digest: str | None = None


class Signer(Struct, frozen=True, gc=False):
    """The signer of a block.

    With Raft it is an identity, with SmartBFT the id of a consenter in the channel configuration.
    """

    identity: Identity | None
    consenter_id: int | None


class Version(Struct, frozen=True, gc=False):
    """The block and the index of the transaction that wrote a key."""

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
    """The results of a large range query, summarised as the highest level of a Merkle tree."""

    max_degree: int
    max_level: int
    hashes: tuple[bytes, ...]


class RangeQuery(Struct, frozen=True, gc=False):
    """A range of keys that was read.

    The results are in `reads`, or summarised in `merkle`, or not given at all.
    """

    start_key: str
    end_key: str
    exhausted: bool
    reads: tuple[Read, ...] | None
    merkle: MerkleSummary | None


class MetadataEntry(Struct, frozen=True, gc=False):
    """One metadata entry of a key; VALIDATION_PARAMETER holds the key's endorsement policy."""

    name: str
    value: bytes


class MetadataWrite(Struct, frozen=True, gc=False):
    """New metadata of a key; in a private collection `key` is the hash of the key."""

    key: str | bytes
    entries: tuple[MetadataEntry, ...]


class HashedRead(Struct, frozen=True, gc=False):
    """The hash of a key that was read in a private collection."""

    key_hash: bytes
    version: Version | None


class HashedWrite(Struct, frozen=True, gc=False):
    """The hashes of a key and a value that were written in a private collection.

    The key can also be deleted, or purged together with its history.
    """

    key_hash: bytes
    value_hash: bytes
    is_delete: bool
    is_purge: bool


class CollectionHashes(Struct, frozen=True, gc=False):
    """The hashes of the private data of one collection, as the ledger has them."""

    collection: str
    reads: tuple[HashedRead, ...]
    writes: tuple[HashedWrite, ...]
    metadata_writes: tuple[MetadataWrite, ...]
    private_rwset_hash: bytes


class ReadWriteSet(Struct, frozen=True, gc=False):
    """The reads and writes of one namespace; a namespace has the name of a chaincode."""

    namespace: str
    reads: tuple[Read, ...]
    writes: tuple[Write, ...]
    range_queries: tuple[RangeQuery, ...]
    metadata_writes: tuple[MetadataWrite, ...]
    collections: tuple[CollectionHashes, ...]


class ChaincodeEvent(Struct, frozen=True, gc=False):
    """The event that a chaincode set.

    The endorser wrote `tx_id`; it can differ from the transaction's id, which is in the header.
    """

    chaincode_id: str
    tx_id: str
    name: str
    payload: bytes


class Response(Struct, frozen=True, gc=False):
    """The response of a chaincode to its invocation."""

    status: int
    message: str
    payload: bytes


class Chaincode(Struct, frozen=True, gc=False):
    """The name and the version of a chaincode, as an envelope has them."""

    name: str
    version: str


class Action(Struct, frozen=True, gc=False):
    """An action of an endorser transaction, as far as it could be decoded."""

    chaincode: Chaincode | None
    args: tuple[bytes, ...]
    is_init: bool
    endorsers: tuple[Identity | None, ...]
    response: Response | None
    rwsets: tuple[ReadWriteSet, ...]
    event: ChaincodeEvent | None


class Lifecycle(Struct, frozen=True, gc=False, rename="camel"):
    """A chaincode definition that an organisation approved or that the channel committed."""

    kind: Literal["approve", "commit"]
    name: str
    version: str
    sequence: int
    init_required: bool
    collections: tuple[str, ...]
    package_id: str | None


class Organisation(Struct, frozen=True, gc=False, rename="camel"):
    """An organisation in the channel configuration.

    It belongs to the application or to the ordering service.
    """

    name: str
    msp_id: str | None
    msp_type: int | None
    root_fingerprints: tuple[str, ...]
    endpoints: tuple[str, ...]
    anchor_peers: tuple[str, ...]


class Consenter(Struct, frozen=True, gc=False, rename="camel"):
    """A node of the ordering service; only SmartBFT gives `id`, `msp_id` and `fingerprint`."""

    host: str
    port: int
    id: int | None = None
    msp_id: str | None = None
    fingerprint: str | None = None


class Capabilities(Struct, frozen=True, gc=False):
    """The names of the required capabilities for each level; an example is V2_5."""

    channel: tuple[str, ...]
    orderer: tuple[str, ...]
    application: tuple[str, ...]


class Policy(Struct, frozen=True, gc=False):
    """A policy: its path, for example /Channel/Readers, and its rule in words."""

    path: str
    rule: str


class Acl(Struct, frozen=True, gc=False):
    """The policy that guards a resource of the peer; an example of a resource is event/Block."""

    resource: str
    policy: str


class ChannelConfig(Struct, frozen=True, gc=False, rename="camel"):
    """The configuration of the channel in a CONFIG envelope; None for values that it lacks."""

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
    """The transaction id and the channel id that an envelope's channel header claims.

    If the header cannot be decoded, `tx_id` is "" and `channel_id` is None.
    """

    tx_id: str
    channel_id: str | None


class Transaction(Struct, frozen=True, gc=False):
    """An envelope of a block, valid or not; `errors` names the parts that could not be decoded."""

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
    """A block whose data hash and number of validation codes are correct.

    `size` is the number of bytes of its envelopes, which is equal on every peer. `claims` has the
    ids that each envelope claims. `transactions` may decode an envelope at each access, so that the
    transactions of a block need not be in memory all at once.
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
