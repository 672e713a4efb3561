"""Verifies an evidence bundle (README.md): python verify.py FILE GENESIS_HASH [COMMIT_HASH]."""
# It needs `cryptography` 45 or newer. What it does not know it refuses: a message, and status 1.

import json
import sys
from base64 import b64decode
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store

KEYS = "format version channel statement configBlocks block previousCommitHash earlierValues checks"
FACTS = """txId block index blockHash code status type creator endorsers chaincode function
arguments writes event"""
WRITE, IDENTITY = ("namespace", "collection", "key", "value"), ("mspId", "subject", "fingerprint")
TYPES = {1: "CONFIG", 3: "ENDORSER_TRANSACTION"}
CODES = """VALID DUPLICATE_TXID ENDORSEMENT_POLICY_FAILURE MVCC_READ_CONFLICT PHANTOM_READ_CONFLICT
BAD_RWSET ILLEGAL_WRITESET INVALID_WRITESET INVALID_CHAINCODE INVALID_OTHER_REASON"""
NAMES = dict(zip((0, 9, 10, 11, 12, 22, 23, 24, 25, 255), CODES.split(), strict=True))
ROLES = {2: 2, 3: 3, 4: 1, 5: 4}  # MSPRole (client, peer, admin, orderer) by field of FabricNodeOUs
SERVER, CURVES = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1"), ("secp256r1", "secp384r1")
ECDSA, ANY = ec.ECDSA(SHA256()), ExtensionPolicy.permit_all()
AUTHORITY = ANY.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
BUILDER = PolicyBuilder().extension_policies(ca_policy=AUTHORITY, ee_policy=ANY)


def require(condition: object, what: str) -> None:
    """Refuse the bundle unless the condition holds."""
    if not condition:
        raise ValueError(what)


def _number(stream: BytesIO) -> int:
    byte = stream.read(1)[0]
    return byte & 0x7F | (_number(stream) << 7 if byte > 0x7F else 0)


def every(message: bytes, *path: int) -> list[Any]:
    """Return the values of a protobuf field: numbers or bytes. The path 1, 2 means field 2 in 1."""
    message, found = one(message, *path[:-1]) if path[1:] else message, list[Any]()
    stream = BytesIO(message)
    while stream.tell() < len(message):
        tag, value = _number(stream), _number(stream)
        content = stream.read(value) if tag & 7 == 2 else b""
        require(tag & 7 == 0 or (tag & 7 == 2 and len(content) == value), "a message is damaged")
        found += [content if tag & 7 else value] if tag >> 3 == path[-1] else []
    return found


def one(message: bytes, *path: int) -> Any:
    """Return the value of a field that is not repeated, or nothing: b""."""
    (value,) = every(message, *path) or [b""]
    return value


def _map(message: bytes, *path: int) -> dict[str, bytes]:
    return {one(entry, 1).decode(): one(entry, 2) for entry in every(message, *path)}


def _field(number: int, data: bytes) -> bytes:
    size = [len(data) >> shift & 0x7F | 0x80 for shift in range(0, 35, 7) if len(data) >> shift]
    return bytes((number << 3 | 2, *size[:-1], size[-1] & 0x7F)) + data if data else b""


class _Block:  # a block that has the data hash of its envelopes; `header` is what orderers sign
    def __init__(self, block: bytes) -> None:
        self.number, self.envelopes = one(block, 1, 1) or 0, every(block, 2, 1)
        previous, data_hash = one(block, 1, 2), sha256(b"".join(self.envelopes)).digest()
        require(data_hash == one(block, 1, 3) and len(previous) in (0, 32), "a block was changed")
        digits = self.number.to_bytes(self.number.bit_length() // 8 + 1, "big")
        der = bytes((2, len(digits))) + digits + bytes((4, len(previous))) + previous + b"\x04\x20"
        self.header = bytes((0x30, len(der) + 32)) + der + data_hash
        self.signatures, _, self.codes, _, self.commit_hash = [*every(block, 3, 1), *[b""] * 5][:5]


class _Envelope:  # an envelope whose parts belong together: who signed it, what it says and writes
    def __init__(self, envelope: bytes) -> None:
        payload, paths = one(envelope, 1), [(1, 1), (1, 2, 1), (1, 2, 2), (2, 1)]
        header, creator, nonce, data = (one(payload, *path) for path in paths)
        self.type, self.channel, self.id = TYPES[one(header, 1)], one(header, 4), one(header, 5)
        self.config, action = data * (one(header, 1) == 1), data * (one(header, 1) == 3)
        proposal, answer = one(action, 2, 1), one(action, 2, 2, 1)
        self.result, self.arguments = one(answer, 2), every(proposal, 1, 1, 3, 1)
        self.signed = [(creator, payload, one(envelope, 2))]
        self.signed += [(one(e, 1), answer + one(e, 1), one(e, 2)) for e in every(action, 2, 2, 2)]
        proposed = sha256(one(payload, 1, 1) + one(action, 1) + proposal).digest()
        bound = self.id.decode(), one(answer, 1), one(self.result, 4, 2)
        right = sha256(nonce + creator).hexdigest(), proposed, one(header, 7, 2, 2)
        require(bound == right or not action, "parts of a transaction do not belong together")
        self.writes: list[tuple[str, str, bytes, Any]] = []
        for space in every(self.result, 1, 2):
            sets = [("", one(space, 2), 3, 4)]
            sets += [(one(each, 1).decode(), one(each, 2), 2, 3) for each in every(space, 3)]
            for collection, rwset, values, metadata in sets:
                key = one(space, 1).decode(), collection
                for item in every(rwset, values):
                    value = None if one(item, 2) else one(item, 3) or None
                    self.writes.append((*key, one(item, 1), value))
                self.writes += [(*key, one(item, 1), True) for item in every(rwset, metadata)]


class Config:
    """The configuration in a CONFIG block: who is a member, and who signs blocks."""

    def __init__(self, block: _Block) -> None:
        envelope = _Envelope(*block.envelopes)
        config, self.channel, self.number = envelope.config, envelope.channel, block.number
        groups, self.sequence = _map(config, 2, 2), one(config, 1) or 0
        rules = _map(_map(config, 2, 3)["Capabilities"], 2, 1).keys()
        require(rules & {"V1_4_3", "V2_0", "V3_0"}, "the channel has old rules")
        self.is_v3, self.orderer = "V3_0" in rules, groups["Orderer"]
        msps = [one(_map(x, 3)["MSP"], 2, 2) for g in groups.values() for x in _map(g, 2).values()]
        self.msps = {one(msp, 1): msp for msp in msps}
        nodes = every(_map(self.orderer, 3).get("Orderers", b""), 2, 1) * self.is_v3
        self.nodes = {one(n, 1): _field(1, one(n, 4)) + _field(2, one(n, 5)) for n in nodes}

    def member(self, identity: bytes, message: bytes, signature: bytes) -> tuple[Any, ...]:
        """Return names and certificate of the member who signed, and its principals."""
        name, load = one(identity, 1), x509.load_pem_x509_certificate
        msp, member = self.msps[name], load(one(identity, 2))
        roots, inner = ([*map(load, every(msp, number))] for number in (2, 3))
        builder = BUILDER.time(member.not_valid_before_utc + timedelta(seconds=1))
        chain = builder.store(Store(roots)).build_client_verifier().verify(member, inner).chain
        for depth, each in enumerate(chain):
            values: dict[type, Any] = {type(item.value): item.value for item in each.extensions}
            is_authority = getattr(values.get(x509.BasicConstraints), "ca", False)
            is_usable = SERVER in values.get(x509.ExtendedKeyUsage, [SERVER])
            is_usable &= depth == 0 or values[x509.KeyUsage].key_cert_sign
            require(is_usable and is_authority == (depth > 0), "a certificate is used wrongly")
        odd = [*every(msp, 5), *every(msp, 7), *(x for x in inner if x.issuer == chain[1].subject)]
        subjects = {each.subject for each in (*roots, *inner)}
        is_known = one(msp, 8, 1) in (b"", b"SHA2") and len(subjects) == len(roots) + len(inner)
        units = {one(msp, 11, n, 2): n for n in ROLES if one(msp, 11, 1) and one(msp, 11, n)}
        names = member.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATIONAL_UNIT_NAME)
        found = [units[each] for each in [str(x.value).encode() for x in names] if each in units]
        above = one(msp, 11, found[0], 1) if found else b""
        has_role = len(found) == bool(units) and (not above or load(above) == chain[1])
        require(is_known and has_role and not odd, "a signer is no member by known rules")
        key: Any = member.public_key()
        how = [] if isinstance(key, ed25519.Ed25519PublicKey) and self.is_v3 else [ECDSA]
        s = utils.decode_dss_signature(signature)[1] if how else 0
        require(not how or (key.curve.name in CURVES and 2 * s < key.curve.group_order), "high S")
        key.verify(signature, message, *how)
        roles = {(0, _field(1, name) + x) for x in [b"", *(bytes((16, ROLES[n])) for n in found)]}
        person = name.decode(), member.subject.rfc4514_string(), member.fingerprint(SHA256()).hex()
        return dict(zip(IDENTITY, person, strict=True)), member, roles | {(2, identity)}

    def check(self, block: _Block) -> None:
        """Check that the orderers signed a block as the channel demands."""
        value, signers = one(block.signatures, 1), dict[bytes, Any]()
        for x in every(block.signatures, 2):
            with suppress(Exception):
                who = one(x, 1, 1) or self.nodes[one(x, 3, 1)]
                signed = value + (one(x, 1) or one(x, 3)) + block.header
                _, member, principals = self.member(who, signed, one(x, 2))
                signers[member.tbs_certificate_bytes] = principals
        require(is_satisfied(self.orderer, "BlockValidation", [*signers.values()]), "not signed")


def is_satisfied(group: bytes, name: str, signers: list[Any]) -> bool:
    """Return whether the signers satisfy a policy of a group of the configuration."""
    policy, groups = one(_map(group, 4)[name], 2), _map(group, 2).values()
    kind, content, unused = one(policy, 1), one(policy, 2), [*signers]
    if kind == 3:
        needed, sub = (1, len(groups), len(groups) // 2 + 1)[one(content, 2) or 0], one(content, 1)
        return 0 < needed <= sum(is_satisfied(each, sub.decode(), signers) for each in groups)
    require(kind == 1 and not one(content, 1), "a policy is of an unknown kind")
    principals = [(one(each, 1) or 0, one(each, 2)) for each in every(content, 3)]
    for rule in every(content, 2, 2, 2):
        found = [signer for signer in unused if principals[one(rule, 1)] in signer][:1]
        unused = [signer for signer in unused if signer not in found]
    return bool(0 < one(content, 2, 2, 1) <= len(signers) - len(unused))


def _shown(data: Any) -> Any:  # bytes as the statement shows them; what is None or True stays so
    with suppress(UnicodeDecodeError):
        return data.decode() if isinstance(data, bytes) else data
    return {"hex": data.hex()}


def commit_hash(block: _Block, previous: bytes, given: dict[Any, Any]) -> bytes:
    """Return the commit hash that follows from the codes and the writes of a block."""
    changes: dict[Any, tuple[Any, int]] = {}
    for index, code in enumerate(block.codes):
        writes = [] if code else _Envelope(block.envelopes[index]).writes
        for *key, value in sorted(writes, key=lambda write: write[3] is not True):
            old = changes.get((*key,), (given.get((*key,)), 0))[0]
            if key[0] and (value is not True or old is not None):
                changes[*key,] = old if value is True else value, index
    updates, last = bytearray(), ("", "")
    for (space, collection, name), (value, index) in sorted(changes.items()):
        version = [n.to_bytes((n.bit_length() + 7) // 8, "big") for n in (block.number, index)]
        entry = _field(1, space.encode()) if space != last[0] else b""
        entry += _field(2, collection.encode()) if (space, collection) != last else b""
        entry += _field(3, name) + (b"\x20\x01" if value is None else _field(5, value))
        entry += _field(6, b"".join(bytes((len(each),)) + each for each in version))
        updates += _field(1, entry)
        last = space, collection
    return sha256(_field(1, block.codes)[1:] + updates + previous).digest()


def verify(path: str, genesis: str, trusted: str | None = None) -> dict[str, Any]:
    """Check a bundle from the first block to the last; return what is proved."""
    require(Path(path).stat().st_size <= 256 << 20, "the file is larger than 256 MiB")
    given = json.loads(text := Path(path).read_text("ascii"))
    blocks = [_Block(b64decode(each)) for each in (*given["configBlocks"], given["block"])]
    hashes = [sha256(each.header).hexdigest() for each in blocks]
    require(hashes[0] == genesis.lower(), "the first block is not the one that you trust")
    before, block, config = None, blocks[0], Config(blocks[0])
    for block in blocks[1:]:
        config.check(block)
        before, named = config, one(block.signatures, 1) and (one(block.signatures, 1, 1, 1) or 0)
        config = Config(block) if block is not blocks[-1] or named == block.number else config
        step = config.sequence - before.sequence, config.channel, config.number
        require(step == (config is not before, before.channel, named), "a CONFIG block is missing")
    index = range(len(block.envelopes))[given["statement"]["index"]]
    envelope, code = _Envelope(block.envelopes[index]), block.codes[index]
    require(envelope.channel == config.channel, "the envelope is of another channel")
    people = [before.member(*each)[0] for each in envelope.signed] if before else []
    function, *arguments = [*map(_shown, envelope.arguments)] or [None]
    writes = [dict(zip(WRITE, map(_shown, write), strict=True)) for write in envelope.writes]
    chaincode, event = _shown(one(envelope.result, 4, 2)) or None, one(envelope.result, 2)
    facts = [_shown(envelope.id), block.number, index, hashes[-1], code, NAMES[code], envelope.type]
    facts += [people[0] if people else None, people[1:], chaincode, function, arguments, writes]
    facts += [{"name": _shown(one(event, 3)), "payload": _shown(one(event, 4))} if event else None]
    previous, computed = given["previousCommitHash"], b""
    if previous is not None:
        values = {(n, c, b64decode(k)): v and b64decode(v) for n, c, k, v in given["earlierValues"]}
        computed = commit_hash(block, bytes.fromhex(previous), values)
        require(_field(1, computed) == block.commit_hash, "the commit hash does not follow")
    require(trusted in (None, computed.hex() or "none"), "you trust another commit hash")
    statement = dict(zip(FACTS.split(), facts, strict=True))
    parts = ["kindledger-evidence", 1, _shown(config.channel), statement, *[*given.values()][4:]]
    expected = dict(zip(KEYS.split(), parts, strict=True))
    require(json.dumps(expected, indent=1) + "\n" == text, "the statement or the layout is wrong")
    return {"statement": given["statement"], "commitHash": computed.hex() or None}


if __name__ == "__main__":
    try:
        print(json.dumps(verify(*sys.argv[1:]), indent=1))
    except Exception as error:  # noqa: BLE001 - whatever fails, the bundle is refused
        sys.exit(f"refused: {error!r}")
