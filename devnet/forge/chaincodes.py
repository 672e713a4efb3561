"""KindLedger's two chaincodes, `kindledger` and `token`, as a Go or Node developer would write them.

Each function reads and writes through a `Stub` and answers with a response and, mostly, an event.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

import msgspec

from devnet.forge import lifecycle
from devnet.forge.envelopes import Chaincode
from devnet.forge.genesis import signature_policy
from devnet.forge.lifecycle import Definition
from devnet.forge.network import Network
from devnet.forge.world_state import Simulation
from protos.chaincode_pb2 import ChaincodeSpec
from protos.collection_pb2 import (
    CollectionConfig,
    CollectionConfigPackage,
    CollectionPolicyConfig,
    StaticCollectionConfig,
)
from protos.configuration_pb2 import MSPRole

KINDLEDGER = Chaincode("kindledger", "1.0", ChaincodeSpec.NODE)
TOKEN = Chaincode("token", "1.0", ChaincodeSpec.NODE)

DONOR_COLLECTION = "donorPrivate"
FIRST_ORGANISATION_COLLECTION = "org1Private"

WRITE_ONCE = (
    "donation:",
    "tdonation:",
    "\0disbursement\0",
    "donor:",
    "note:",
    "range:",
    "policy:",
    "câu chuyện:",
)
"""What these chaincodes write and never read."""

_encode = msgspec.json.encode


class Campaign(msgspec.Struct, rename={"doc_type": "docType"}):
    """The value of `campaign:<id>`."""

    doc_type: str
    id: str
    name: str
    goal: int
    status: str
    creator: str


class Account(msgspec.Struct):
    """The value of `bal:<account>`."""

    acct: str
    balance: int


class Outcome(NamedTuple):
    """What a chaincode function answers; an event has a name and a payload."""

    response: bytes = b""
    event: tuple[str, bytes] | None = None


class Stub(NamedTuple):
    """What a chaincode sees of the transaction that invokes it."""

    simulation: Simulation
    namespace: str
    tx_id: str
    mspid: str

    def get(self, key: str) -> bytes | None:
        """A key's committed value."""
        return self.simulation.get(self.namespace, key)

    def put(self, key: str, value: object) -> bytes:
        """Write a value as JSON, and return that."""
        document = _encode(value)
        self.simulation.put(self.namespace, key, document)
        return document

    def private(self, collection: str) -> str:
        """The namespace of a private collection; using it reads the chaincode's definition."""
        lifecycle.read_collections(self.simulation, self.namespace)
        return f"{self.namespace}${collection}"

    def call(self, chaincode: Chaincode) -> "Stub":
        """The stub of a chaincode that this one invokes."""
        lifecycle.read_sequence(self.simulation, chaincode.name)
        return self._replace(namespace=chaincode.name)


Function = Callable[..., Outcome]


def create_campaign(stub: Stub, campaign: str, name: str, goal: str) -> Outcome:
    """Open a campaign."""
    opened = Campaign("campaign", campaign, name, int(goal), "OPEN", stub.mspid)
    document = stub.put(f"campaign:{campaign}", opened)
    event = {"id": campaign, "name": name, "goal": opened.goal, "txId": stub.tx_id}
    return Outcome(document, ("CampaignCreated", _encode(event)))


def update_status(stub: Stub, campaign: str, status: str) -> Outcome:
    """Move a campaign to another status."""
    updated = msgspec.json.decode(_existing(stub, campaign), type=Campaign)
    event = {"id": campaign, "from": updated.status, "to": status}
    updated.status = status
    return Outcome(stub.put(f"campaign:{campaign}", updated), ("StatusUpdated", _encode(event)))


def donate(stub: Stub, campaign: str, donor: str, amount: str) -> Outcome:
    """Give to an existing campaign."""
    _existing(stub, campaign)
    donation = {
        "docType": "donation",
        "campaignId": campaign,
        "donor": donor,
        "amount": int(amount),
        "txId": stub.tx_id,
    }
    document = stub.put(f"donation:{campaign}:{stub.tx_id}", donation)
    return Outcome(document, ("DonationReceived", document))


def donate_private(stub: Stub, campaign: str) -> Outcome:
    """Give without showing who: the donor comes in the transient map, the ledger holds hashes."""
    _donate_privately(stub, campaign, DONOR_COLLECTION)
    return Outcome(b"ok", ("PrivateDonation", _encode({"campaignId": campaign})))


def donate_private_org1(stub: Stub, campaign: str) -> Outcome:
    """The same, kept also in a collection that expires after five blocks."""
    _donate_privately(stub, campaign, DONOR_COLLECTION, FIRST_ORGANISATION_COLLECTION)
    return Outcome(b"ok", ("PrivateDonation", _encode({"campaignId": campaign, "org1": True})))


def delete_private(stub: Stub, key: str) -> Outcome:
    """Forget a private donation; its history stays."""
    stub.simulation.put(stub.private(DONOR_COLLECTION), key, None)
    return Outcome(b"ok")


def purge_private(stub: Stub, key: str) -> Outcome:
    """Forget a private donation and its history."""
    stub.simulation.purge(stub.private(DONOR_COLLECTION), key)
    return Outcome(b"ok", ("PrivatePurged", _encode({"key": key})))


def disburse(stub: Stub, campaign: str, amount: str) -> Outcome:
    """Pay out to the people that a campaign is for, under a composite key."""
    _existing(stub, campaign)
    payment = {"campaignId": campaign, "amount": int(amount)}
    document = stub.put(f"\0disbursement\0{campaign}\0{stub.tx_id}\0", payment)
    return Outcome(b"ok", ("Disbursed", document))


def mint(stub: Stub, account: str, amount: str) -> Outcome:
    """Create tokens on an account."""
    document, balance = _add(stub, account, int(amount))
    return Outcome(
        document, ("Mint", _encode({"to": account, "amount": int(amount), "balance": balance}))
    )


def transfer(stub: Stub, source: str, target: str, amount: str) -> Outcome:
    """Move tokens; accounts may be overdrawn."""
    debited, _ = _add(stub, source, -int(amount))
    credited, _ = _add(stub, target, int(amount))
    response = b'{"from":' + debited + b',"to":' + credited + b"}"
    event = {"from": source, "to": target, "amount": int(amount)}
    return Outcome(response, ("Transfer", _encode(event)))


def token_donate(stub: Stub, campaign: str, donor: str, amount: str) -> Outcome:
    """Give through the chaincode `token`, whose own event does not appear on the ledger."""
    minted = mint(stub.call(TOKEN), donor, amount)
    donation = {"campaignId": campaign, "donor": donor, "amount": int(amount), "via": "token"}
    document = stub.put(f"tdonation:{campaign}:{stub.tx_id}", donation)
    return Outcome(minted.response, ("DonationReceived", document))


def range_count(stub: Stub, start: str, end: str) -> Outcome:
    """Count the keys from `start` up to `end`, and keep the number."""
    count = len(stub.simulation.range(stub.namespace, start, end))
    response = stub.put(f"range:{start}", {"n": count})
    return Outcome(response, ("RangeCounted", _encode({"n": count, "start": start, "end": end})))


def query(stub: Stub, key: str) -> Outcome:
    """Read one key, as a transaction that writes nothing."""
    return Outcome(stub.get(key) or b"")


def put_note(stub: Stub, note: str, text: str) -> Outcome:
    """Write plain text, without an event."""
    stub.simulation.put(stub.namespace, f"note:{note}", text.encode())
    return Outcome()


def delete_notes(stub: Stub, *notes: str) -> Outcome:
    """Delete notes, whether they exist or not."""
    for note in notes:
        stub.simulation.put(stub.namespace, f"note:{note}", None)
    return Outcome(b"ok", ("KeysDeleted", _encode({"keys": [f"note:{note}" for note in notes]})))


def set_key_policy(stub: Stub, key: str, mspid: str) -> Outcome:
    """Write a key that only one organisation's peers may endorse from then on."""
    stub.put(f"policy:{key}", {"endorser": mspid})
    policy = signature_policy(1, [MSPRole(msp_identifier=mspid, role=MSPRole.PEER)])
    stub.simulation.set_policy(stub.namespace, f"policy:{key}", policy.SerializeToString())
    return Outcome(b"ok")


def tell_story(stub: Stub, story: str, text: str) -> Outcome:
    """An event whose name and fields are Vietnamese."""
    document = stub.put(f"câu chuyện:{story}", {"id": story, "nộiDung": text})
    event = {"id": story, "nộiDung": text, "biểuTượng": "🪔", "người gửi": "Nguyễn Thị Ánh"}
    return Outcome(document, ("QuyênGóp", _encode(event)))


def binary_event(stub: Stub, note: str) -> Outcome:
    """A response, a value and an event payload that are no text."""
    content = b"\x00\x01\xfe\xff\x80" + bytes.fromhex(stub.tx_id)
    stub.simulation.put(stub.namespace, f"note:{note}", content)
    return Outcome(b"\xff\x00\xfe", ("BinaryEvent", content))


def empty_event(_stub: Stub) -> Outcome:
    """An event without a payload, and no write."""
    return Outcome(b"", ("EmptyPayload", b""))


def no_op(_stub: Stub) -> Outcome:
    """Neither read nor write nor event."""
    return Outcome(b"noop")


FUNCTIONS: dict[str, Function] = {
    "CreateCampaign": create_campaign,
    "UpdateStatus": update_status,
    "Donate": donate,
    "DonatePrivate": donate_private,
    "DonatePrivateOrg1": donate_private_org1,
    "DeletePrivate": delete_private,
    "PurgePrivate": purge_private,
    "Disburse": disburse,
    "Mint": mint,
    "Transfer": transfer,
    "TokenDonate": token_donate,
    "RangeCount": range_count,
    "Query": query,
    "PutNote": put_note,
    "DeleteNotes": delete_notes,
    "SetKeyPolicy": set_key_policy,
    "TellStory": tell_story,
    "BinaryEvent": binary_event,
    "EmptyEvent": empty_event,
    "NoOp": no_op,
}
"""The functions by the name that a client invokes; `token` answers to Mint and Transfer only."""


def definitions(network: Network) -> tuple[Definition, Definition]:
    """How the network's organisations define the two chaincodes.

    A transaction of `kindledger` needs a majority of the organisations' peers, one of `token` any of them.
    """
    mspids = [organisation.mspid for organisation in network.organisations]
    peers = [MSPRole(msp_identifier=mspid, role=MSPRole.PEER) for mspid in mspids]
    collections = CollectionConfigPackage(
        config=[
            CollectionConfig(
                static_collection_config=_collection(DONOR_COLLECTION, mspids, blocks_to_live=0)
            ),
            CollectionConfig(
                static_collection_config=_collection(
                    FIRST_ORGANISATION_COLLECTION, mspids[:1], blocks_to_live=5
                )
            ),
        ]
    )
    return (
        Definition(
            KINDLEDGER.name,
            KINDLEDGER.version,
            _package_id(KINDLEDGER),
            signature_policy(len(network.endorsers), peers),
            collections,
        ),
        Definition(
            TOKEN.name,
            TOKEN.version,
            _package_id(TOKEN),
            signature_policy(1, peers),
        ),
    )


def _package_id(chaincode: Chaincode) -> str:
    label = f"{chaincode.name}_{chaincode.version}"
    return f"{label}:{sha256(label.encode()).hexdigest()}"


def _collection(name: str, mspids: list[str], *, blocks_to_live: int) -> StaticCollectionConfig:
    members = signature_policy(1, [MSPRole(msp_identifier=mspid) for mspid in mspids])
    return StaticCollectionConfig(
        name=name,
        member_orgs_policy=CollectionPolicyConfig(signature_policy=members),
        maximum_peer_count=1,
        block_to_live=blocks_to_live,
        member_only_read=True,
    )


def _existing(stub: Stub, campaign: str) -> bytes:
    document = stub.get(f"campaign:{campaign}")
    if document is None:
        raise LookupError(f"campaign {campaign} does not exist: create it in an earlier block")
    return document


def _donate_privately(stub: Stub, campaign: str, *collections: str) -> None:
    secret = _encode({"donor": "Người ủng hộ ẩn danh", "salt": stub.tx_id})
    for collection in collections:
        stub.simulation.put(stub.private(collection), f"donor:{campaign}:{stub.tx_id}", secret)


def _add(stub: Stub, name: str, amount: int) -> tuple[bytes, int]:
    """The account's new document and balance; an account that does not exist is opened."""
    document = stub.get(f"bal:{name}")
    account = msgspec.json.decode(document, type=Account) if document else Account(name, 0)
    account.balance += amount
    return stub.put(f"bal:{name}", account), account.balance
