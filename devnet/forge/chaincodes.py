"""The functions of KindLedger's two chaincodes, `kindledger` and `token`.

Each function reads and writes through a `Stub` and returns a response and usually an event.
"""

from collections.abc import Callable

import msgspec

from devnet.forge.chaincode_stub import Outcome, Stub
from devnet.forge.envelopes import Chaincode
from devnet.forge.genesis import signature_policy
from protos.chaincode_pb2 import ChaincodeSpec
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
"""The prefixes of keys that the chaincodes write and never read."""

_encode = msgspec.json.encode


class Campaign(msgspec.Struct, rename={"doc_type": "docType"}):
    """The value of the key `campaign:<id>`."""

    doc_type: str
    id: str
    name: str
    goal: int
    status: str
    creator: str


class Account(msgspec.Struct):
    """The value of the key `bal:<account>`."""

    acct: str
    balance: int


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
    """Give anonymously: the donor is in the transient map, and the ledger holds hashes."""
    _donate_privately(stub, campaign, DONOR_COLLECTION)
    return Outcome(b"ok", ("PrivateDonation", _encode({"campaignId": campaign})))


def donate_private_org1(stub: Stub, campaign: str) -> Outcome:
    """Give anonymously, with a copy in a collection that expires after five blocks."""
    _donate_privately(stub, campaign, DONOR_COLLECTION, FIRST_ORGANISATION_COLLECTION)
    return Outcome(b"ok", ("PrivateDonation", _encode({"campaignId": campaign, "org1": True})))


def delete_private(stub: Stub, key: str) -> Outcome:
    """Delete a private donation; its history stays."""
    stub.simulation.put(stub.private(DONOR_COLLECTION), key, None)
    return Outcome(b"ok")


def purge_private(stub: Stub, key: str) -> Outcome:
    """Delete a private donation and its history."""
    stub.simulation.purge(stub.private(DONOR_COLLECTION), key)
    return Outcome(b"ok", ("PrivatePurged", _encode({"key": key})))


def disburse(stub: Stub, campaign: str, amount: str) -> Outcome:
    """Pay out the money of a campaign; the payment has a composite key."""
    _existing(stub, campaign)
    payment = {"campaignId": campaign, "amount": int(amount)}
    document = stub.put(f"\0disbursement\0{campaign}\0{stub.tx_id}\0", payment)
    return Outcome(b"ok", ("Disbursed", document))


def mint(stub: Stub, account: str, amount: str) -> Outcome:
    """Create tokens in an account."""
    document, balance = _add(stub, account, int(amount))
    return Outcome(
        document, ("Mint", _encode({"to": account, "amount": int(amount), "balance": balance}))
    )


def transfer(stub: Stub, source: str, target: str, amount: str) -> Outcome:
    """Move tokens between accounts, which may become negative."""
    debited, _ = _add(stub, source, -int(amount))
    credited, _ = _add(stub, target, int(amount))
    response = b'{"from":' + debited + b',"to":' + credited + b"}"
    event = {"from": source, "to": target, "amount": int(amount)}
    return Outcome(response, ("Transfer", _encode(event)))


def token_donate(stub: Stub, campaign: str, donor: str, amount: str) -> Outcome:
    """Give through the chaincode `token`, whose event is not on the ledger."""
    minted = mint(stub.call(TOKEN), donor, amount)
    donation = {"campaignId": campaign, "donor": donor, "amount": int(amount), "via": "token"}
    document = stub.put(f"tdonation:{campaign}:{stub.tx_id}", donation)
    return Outcome(minted.response, ("DonationReceived", document))


def range_count(stub: Stub, start: str, end: str) -> Outcome:
    """Count the keys from `start` up to `end`, and write the number."""
    count = len(stub.simulation.range(stub.namespace, start, end))
    response = stub.put(f"range:{start}", {"n": count})
    return Outcome(response, ("RangeCounted", _encode({"n": count, "start": start, "end": end})))


def query(stub: Stub, key: str) -> Outcome:
    """Read one key and write nothing."""
    return Outcome(stub.get(key) or b"")


def put_note(stub: Stub, note: str, text: str) -> Outcome:
    """Write plain text without an event."""
    stub.simulation.put(stub.namespace, f"note:{note}", text.encode())
    return Outcome()


def delete_notes(stub: Stub, *notes: str) -> Outcome:
    """Delete notes, which need not exist."""
    for note in notes:
        stub.simulation.put(stub.namespace, f"note:{note}", None)
    return Outcome(b"ok", ("KeysDeleted", _encode({"keys": [f"note:{note}" for note in notes]})))


def set_key_policy(stub: Stub, key: str, mspid: str) -> Outcome:
    """Write a key whose later writes only the peers of one organisation may endorse."""
    stub.put(f"policy:{key}", {"endorser": mspid})
    policy = signature_policy(1, [MSPRole(msp_identifier=mspid, role=MSPRole.PEER)])
    stub.simulation.set_policy(stub.namespace, f"policy:{key}", policy.SerializeToString())
    return Outcome(b"ok")


def tell_story(stub: Stub, story: str, text: str) -> Outcome:
    """Set an event with a Vietnamese name and Vietnamese fields."""
    document = stub.put(f"câu chuyện:{story}", {"id": story, "nộiDung": text})
    event = {"id": story, "nộiDung": text, "biểuTượng": "🪔", "người gửi": "Nguyễn Thị Ánh"}
    return Outcome(document, ("QuyênGóp", _encode(event)))


def binary_event(stub: Stub, note: str) -> Outcome:
    """Return a binary response, and write a binary value and a binary event payload."""
    content = b"\x00\x01\xfe\xff\x80" + bytes.fromhex(stub.tx_id)
    stub.simulation.put(stub.namespace, f"note:{note}", content)
    return Outcome(b"\xff\x00\xfe", ("BinaryEvent", content))


def empty_event(_stub: Stub) -> Outcome:
    """Set an event without a payload and write nothing."""
    return Outcome(b"", ("EmptyPayload", b""))


def no_op(_stub: Stub) -> Outcome:
    """Return a response without reads, writes or an event."""
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
"""The functions by their names in an invocation; `token` has only Mint and Transfer."""


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
    """Add to an account, which is created if absent; return its new document and balance."""
    document = stub.get(f"bal:{name}")
    account = msgspec.json.decode(document, type=Account) if document else Account(name, 0)
    account.balance += amount
    return stub.put(f"bal:{name}", account), account.balance
