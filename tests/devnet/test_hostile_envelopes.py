"""Hostile envelopes of the forger are broken exactly where they are meant to be."""

from itertools import islice

import pytest
from cryptography import x509
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from devnet.forge.chain import Chain
from devnet.forge.forger import ForgedBlock, Recipe, forge
from devnet.forge.hostile_builders import OVERSIZED_BYTES, HostileContext, oversized
from devnet.forge.hostile_envelopes import UNPARSABLE_LEVELS, envelope_builders
from devnet.forge.hostile_values import EVENT_PAYLOADS, KEYS, RESULTS, TIMESTAMPS, TX_IDS
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from ledger.hashes import data_hash, transaction_id
from protos.common_pb2 import (
    Block,
    Envelope,
    Payload,
)
from protos.kvrwset_pb2 import KVRWSet
from protos.msp_pb2 import SerializedIdentity
from protos.transaction_pb2 import (
    VALID,
    Transaction,
)
from tests.devnet.forged_chain import UnparsableError, parse_transaction


@pytest.fixture(scope="module")
def context() -> HostileContext:
    return HostileContext(
        Network(5), RandomStream("hostile"), Timestamp(seconds=1_700_000_000), other_id="ab" * 32
    )


@pytest.mark.parametrize("level", [*UNPARSABLE_LEVELS, "envelope"])
def test_an_unparsable_level_is_the_outermost_one(context: HostileContext, level: str) -> None:
    name = "envelope_unparsable" if level == "envelope" else f"unparsable_{level}"
    envelope, _ = envelope_builders()[name](context)
    with pytest.raises(UnparsableError, match=f"^{level}$"):
        parse_transaction(envelope)


@pytest.mark.parametrize("name", RESULTS)
def test_unparsable_results_are_unparsable_at_the_intended_level(
    context: HostileContext, name: str
) -> None:
    envelope, code = envelope_builders()[f"results_{name}"](context)
    unparsable_level = {
        "kv_unparsable": "results_kv",
        "key_not_utf8": "results_kv",
        "hashed_unparsable": "results_hashed",
    }
    with pytest.raises(UnparsableError, match=f"^{unparsable_level.get(name, 'results')}$"):
        parse_transaction(envelope)
    assert code == 22


def test_hostile_content_is_in_the_envelope_unchanged(context: HostileContext) -> None:
    builders = envelope_builders()
    for name, tx_id in TX_IDS.items():
        assert (
            parse_transaction(builders[f"tx_id_{name}"](context).envelope).channel_header.tx_id
            == tx_id
        )
    assert (
        parse_transaction(
            builders["tx_id_of_another_transaction"](context).envelope
        ).channel_header.tx_id
        == "ab" * 32
    )
    for name, timestamp in TIMESTAMPS.items():
        envelope, code = builders[f"timestamp_{name}"](context)
        header = parse_transaction(envelope).channel_header
        assert code == VALID
        assert (header.timestamp if header.HasField("timestamp") else None) == timestamp
    for name, key in KEYS.items():
        (namespace,) = parse_transaction(builders[f"key_{name}"](context).envelope).results.ns_rwset
        (write,) = KVRWSet.FromString(namespace.rwset).writes
        assert write.key == key
        with pytest.raises(UnicodeDecodeError):
            write.value.decode()
    for name, payload in EVENT_PAYLOADS.items():
        assert (
            parse_transaction(builders[f"event_payload_{name}"](context).envelope).event.payload
            == payload
        )
    for number in (0, 1, 2, 4, 5, 6, 99, -1):
        envelope, code = builders[f"type_{number}"](context)
        assert parse_transaction(envelope).channel_header.type == number
        assert code != VALID
    assert [builders[f"code_{code}"](context).code for code in (77, 200)] == [77, 200]
    assert builders["envelope_empty"](context).envelope == b""
    assert len(parse_transaction(builders["actions_3"](context).envelope).transaction.actions) == 3
    idle = Payload.FromString(Envelope.FromString(builders["actions_0"](context).envelope).payload)
    assert len(Transaction.FromString(idle.data).actions) == 0


def test_hostile_identities_have_no_valid_certificate(context: HostileContext) -> None:
    builders = envelope_builders()
    for name in ("creator_certificate_garbage", "creator_certificate_binary", "creator_idemix"):
        tx = parse_transaction(builders[name](context).envelope)
        member = SerializedIdentity.FromString(tx.signature_header.creator)
        assert tx.channel_header.tx_id == transaction_id(
            tx.signature_header.nonce, tx.signature_header.creator
        )
        with pytest.raises(ValueError, match="PEM"):
            x509.load_pem_x509_certificate(member.id_bytes)
    with pytest.raises(DecodeError):
        SerializedIdentity.FromString(
            parse_transaction(
                builders["creator_unparsable"](context).envelope
            ).signature_header.creator
        )


def test_all_hostile_envelopes_fit_into_a_block(
    forged: list[ForgedBlock], context: HostileContext
) -> None:
    chain = Chain(context.network)
    chain.genesis(seconds=1_700_000_000)
    block = Block.FromString(chain.cut([build(context) for build in envelope_builders().values()]))
    assert block.header.data_hash == data_hash(block.data.data)
    assert len(block.data.data) == len(envelope_builders()) > 80
    mixed_in = [
        submission.code
        for each in forged
        for submission in each.submissions
        if not submission.function
    ]
    assert len(set(mixed_in)) > 10


def test_an_oversized_transaction_and_a_block_of_10_000_can_be_forged(
    context: HostileContext,
) -> None:
    small, _ = oversized(context, 5 * 2**20)
    assert 5 * 2**20 < len(small) < 6 * 2**20
    envelope, code = oversized(context)
    assert code == VALID
    assert len(envelope) > OVERSIZED_BYTES > 2**24
    parse_transaction(envelope)
    recipe = Recipe(transactions_per_block=10_000, bulk=True, signed=False, invalid_share=0)
    large = list(islice(forge(recipe), 11))[-1]
    assert len(Block.FromString(large.data).data.data) == 10_000
    assert {submission.code for submission in large.submissions} == {VALID}
