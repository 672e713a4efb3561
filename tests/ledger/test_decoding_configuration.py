"""Forged channel configurations, identities and signers, as they are decoded."""

from hashlib import sha256

from ledger.decoding.blocks import decode_block, read_block
from ledger.model import (
    Acl,
    Consenter,
    Identity,
    Organisation,
    Policy,
    Signer,
)
from tests.ledger import forging
from tests.ledger.forging import CONFIG, config, envelope, group_child, group_value
from tests.ledger.invariants import check_block, checked_transaction
from tests.ledger.wire_format import field

_UINT64_MAX = 2**64 - 1


def test_identities_without_a_certificate_have_a_digest() -> None:
    idemix = field(1, b"x") + field(2, b"y") + field(3, b"ou")
    for id_bytes, kind in (
        (idemix, "idemix"),
        (b"anything", "unknown"),
        (b"-----BEGIN CERTIFICATE-----", "unknown"),
    ):
        creator = checked_transaction(
            envelope(b"", creator=field(1, b"MSP") + field(2, id_bytes))
        ).creator
        assert creator == Identity("MSP", kind, digest=sha256(id_bytes).hexdigest())  # type: ignore[arg-type]


def test_signers_and_the_commit_hash_are_decoded() -> None:
    raft = field(2, field(1, field(1, field(1, b"OrdererMSP") + field(2, b"?"))))
    bft = field(2, field(3, field(1, 2**32 - 1) + field(2, b"nonce")))
    unreadable = field(2, field(1, b"\xff")) + field(2, field(3, b"\xff"))
    signatures = raft + bft + unreadable
    last_config = field(1, field(1, _UINT64_MAX))
    raw = forging.block(
        [], metadata=[signatures, field(1, last_config[2:]), b"", field(1, b"\1\2")]
    )
    check_block(raw)
    block = decode_block(read_block(raw))
    unknown = Identity("OrdererMSP", "unknown", digest=sha256(b"?").hexdigest())
    assert block.signers == (
        Signer(unknown, None),
        Signer(None, 2**32 - 1),
        Signer(None, None),
        Signer(None, None),
    )
    assert (block.last_config, block.commit_hash) == (_UINT64_MAX, b"\1\2")


def test_a_channel_configuration_with_all_parts_is_decoded() -> None:
    acls = [
        field(1, field(1, name) + field(2, field(1, b"/Channel/" + name))) for name in (b"b", b"a")
    ]
    capabilities = group_value(
        "Capabilities", field(1, field(1, b"V2_5")) + field(1, field(1, b"V1_4"))
    )
    idemix = group_value("MSP", field(1, 1) + field(2, field(1, b"IdemixMSP")))
    peers = group_value(
        "AnchorPeers", field(1, field(1, b"peer") + field(2, 7051)) + field(1, field(1, b"other"))
    )
    application = (
        group_value("ACLs", b"".join(acls))
        + group_child("Idemix/Org", idemix + peers)
        + group_child("Empty", b"")
    )
    consenter = (
        field(1, 1)
        + field(2, b"host")
        + field(3, 7050)
        + field(4, b"OrdererMSP")
        + field(5, b"no certificate")
    )
    ordering = (
        capabilities
        + group_value("ConsensusType", field(1, b"BFT"))
        + group_value("Orderers", field(1, consenter))
        + group_value("BatchSize", field(1, 500) + field(2, 99 << 20) + field(3, 1 << 20))
        + group_value("BatchTimeout", field(1, b"2s"))
        + forging.group_policy("Any", 3, field(1, b"Readers"))
        + forging.group_policy("Odd", 3, field(2, 9))
        + forging.group_policy("Unreadable", 1, b"\xff")
        + forging.group_policy("Unknown", 2, b"")
        + forging.group_policy("Signatures", 1, _signature_policy())
    )
    channel = (
        group_value("OrdererAddresses", field(1, b"a:1") + field(1, b"b:2"))
        + group_child("Application", application)
        + group_child("Orderer", ordering)
    )
    configuration = checked_transaction(envelope(config(channel, _UINT64_MAX), CONFIG)).config
    assert configuration is not None
    assert configuration.sequence == _UINT64_MAX
    assert configuration.acls == (Acl("a", "/Channel/a"), Acl("b", "/Channel/b"))
    assert configuration.organisations == (
        Organisation("Empty", None, None, (), (), ()),
        Organisation("Idemix/Org", "IdemixMSP", 1, (), (), ("peer:7051", "other:0")),
    )
    assert configuration.orderer_addresses == ("a:1", "b:2")
    assert configuration.capabilities.orderer == ("V1_4", "V2_5")
    assert (configuration.consensus_type, configuration.batch_timeout) == ("BFT", "2s")
    assert configuration.consenters == (Consenter("host", 7050, 1, "OrdererMSP", None),)
    assert (
        configuration.max_message_count,
        configuration.absolute_max_bytes,
        configuration.preferred_max_bytes,
    ) == (
        500,
        99 << 20,
        1 << 20,
    )
    assert configuration.policies == (
        Policy("/Channel/Orderer/Any", "ANY Readers"),
        Policy("/Channel/Orderer/Odd", "9 "),
        Policy(
            "/Channel/Orderer/Signatures",
            "2 of (Org.peer, 1 of (Org.OU=sales, anonymity), Org.9, Org.identity, "
            "unknown principal 7)",
        ),
        Policy("/Channel/Orderer/Unknown", "policy of type 2"),
        Policy("/Channel/Orderer/Unreadable", "unreadable policy of type 1"),
    )


def _signature_policy() -> bytes:
    def signed_by(index: int) -> bytes:
        return field(1, index)

    def n_out_of(n: int, *rules: bytes) -> bytes:
        return field(2, field(1, n) + b"".join(field(2, rule) for rule in rules))

    principals = [
        (0, field(1, b"Org") + field(2, 3)),  # role: peer
        (1, field(1, b"Org") + field(2, b"sales")),
        (3, b""),
        (0, field(1, b"Org") + field(2, 9)),
        (2, field(1, b"Org") + field(2, b"certificate")),
    ]
    rule = n_out_of(
        2, signed_by(0), n_out_of(1, signed_by(1), signed_by(2)), *map(signed_by, (3, 4, 7))
    )
    identities = b"".join(
        field(3, field(1, kind) + field(2, principal)) for kind, principal in principals
    )
    return field(2, rule) + identities
