"""Faults that are planted in an audited ledger and its rows, and what an audit must find."""

from collections.abc import Awaitable, Callable
from functools import cache

import bson
import msgspec
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from cli.audit.report import CheckName
from devnet.peer import Ledger, Lie, lying_ledger
from ledger.documents.digests import stored_digests
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS, VERDICTS
from ledger.position import pack_position, unpack_position
from tests.cli.auditing import FIRST, LAST, Audited, chain, time_of, verdicts_on
from tests.indexer.support import expected_documents
from tests.reconciliation.growing_ledger import submitted

LENIENT: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument, unicode_decode_error_handler="replace"
)
MIDDLE = 21
"""A block in the middle of the month; all its transactions are VALID."""
FLIPPED = 24
"""The first block of the month with a transaction that lacks endorsements."""
NO_BLOCK = "ab" * 32
OF_MONTH = [each for each in submitted(chain()) if FIRST <= each.block <= LAST]
DONATIONS = [each for each in OF_MONTH if each.function == "Donate"]
VALID, FAILED = ([each for each in DONATIONS if each.valid is valid] for valid in (True, False))
FLIPPED_ID = next(each.tx_id for each in FAILED if each.block == FLIPPED)
DATA = tuple(block.data for block in chain())
POSITION = next(
    key for key in expected_documents(DATA)[EVENTS] if unpack_position(key)[0] == MIDDLE
)
TX_ID = bson.decode(expected_documents(DATA)[TRANSACTIONS][POSITION])["txId"]
"""The position and the id of a transaction with an event."""


async def change_transaction(audited: Audited) -> None:
    change = {"$set": {"function": "Mint"}}
    await audited.database[TRANSACTIONS].update_one({"_id": POSITION}, change)


async def delete_event(audited: Audited) -> None:
    await audited.database[EVENTS].delete_one({"_id": POSITION})


async def add_event(audited: Audited) -> None:
    event = await audited.document(EVENTS, POSITION)
    failed = await audited.document(TRANSACTIONS, pack_position(FIRST, 0))
    assert failed["status"] != "VALID"
    await audited.database[EVENTS].insert_one(
        event | {"_id": failed["_id"], "txId": failed["txId"], "blockNumber": FIRST}
    )


async def change_block_and_its_digest(audited: Audited) -> None:
    """Change a block's document, and compute its own digest again."""
    before = await audited.document(BLOCKS, MIDDLE - 1)
    changed = await audited.document(BLOCKS, MIDDLE) | {"validCount": 1}
    previous = bytes.fromhex(before["digest"])
    digest, of_signers = stored_digests(RawBSONDocument(bson.encode(changed)), previous)
    changed |= {"digest": digest.hex(), "signersDigest": of_signers}
    await audited.database[BLOCKS].replace_one({"_id": MIDDLE}, changed)


async def delete_block(audited: Audited) -> None:
    await audited.database[BLOCKS].delete_one({"_id": MIDDLE})


async def flip_code_and_verdict(audited: Audited) -> None:
    """Store the blocks of a peer that calls a transaction VALID, and the verdict on them."""
    await flip_code(audited)
    verdict = msgspec.to_builtins(verdicts_on(lying_chain())[FLIPPED])
    await audited.database[VERDICTS].replace_one({"_id": FLIPPED}, verdict)


async def flip_code(audited: Audited) -> None:
    """Store the documents of that peer with all their digests, and the verdict on other codes."""
    honest, lying = expected_documents(DATA), expected_documents(lying_chain())
    for name in (BLOCKS, TRANSACTIONS, EVENTS):
        for key, raw in lying[name].items():
            if raw != honest[name].get(key):
                document = bson.decode(raw)
                await audited.database[name].replace_one({"_id": key}, document, upsert=True)


@cache
def lying_chain() -> tuple[bytes, ...]:
    lying = lying_ledger(Ledger(DATA), Lie.FLIP, FIRST)
    blocks = tuple(lying.block(number) for number in range(lying.height))
    assert [number for number, data in enumerate(DATA) if data != blocks[number]] == [FLIPPED]
    return blocks


async def mislead_verification(audited: Audited) -> None:
    """Let the verdict before the month name a later block as the last one with definitions."""
    change = {"$set": {"definitionsBlock": FIRST + 1}}
    await audited.database[VERDICTS].update_one({"_id": FIRST - 1}, change)


async def write_no_text(audited: Audited) -> None:
    """Write bytes that are no text into a transaction, as only a raw command can."""
    raw = bson.encode(await audited.document(TRANSACTIONS, POSITION))
    changed = RawBSONDocument(raw.replace(b"ENDORSER_TRANSACTION", b"\xff" * 20), LENIENT)
    await audited.database[TRANSACTIONS].replace_one({"_id": POSITION}, changed)


async def confirm_failed_row(audited: Audited) -> None:
    change = "UPDATE transactions SET status = 'CONFIRMED' WHERE tx_hash = $1"
    await audited.row(change, FAILED[0].tx_id)


async def change_amount(audited: Audited) -> None:
    await audited.row(
        "UPDATE transactions SET amount = amount + 1 WHERE tx_hash = $1", VALID[0].tx_id
    )


async def invent_row(audited: Audited) -> None:
    await audited.gateway.transaction(NO_BLOCK, "CONFIRMED", created_at=time_of(MIDDLE))


async def delete_row(audited: Audited) -> None:
    await audited.row("DELETE FROM transactions WHERE tx_hash = $1", VALID[0].tx_id)


Fault = Callable[[Audited], Awaitable[None]]
FAULTS: dict[Fault, list[tuple[CheckName, str, int | None, str]]] = {
    change_transaction: [
        (CheckName.DIGESTS, "", MIDDLE, "transactions_ledger: the documents of the block were"),
        (CheckName.DOCUMENTS, TX_ID, MIDDLE, "function: chain "),
    ],
    delete_event: [
        (CheckName.COUNTS, "", MIDDLE, "chaincode_events: "),
        (CheckName.DOCUMENTS, TX_ID, MIDDLE, f"chaincode_events: {POSITION} is missing"),
    ],
    add_event: [
        (CheckName.EVENTS, "", FIRST, "has no VALID transaction at its position"),
        (CheckName.DOCUMENTS, "", FIRST, "is stored, but not on the chain"),
    ],
    change_block_and_its_digest: [
        (CheckName.DIGESTS, "", MIDDLE + 1, "blocks: the block's document or its digest"),
        (CheckName.DOCUMENTS, "", MIDDLE, f"blocks: {MIDDLE}: digest: chain "),
    ],
    delete_block: [
        (CheckName.CHAIN, "", MIDDLE, f"blocks: missing up to block {MIDDLE}"),
        (CheckName.DOCUMENTS, "", MIDDLE, f"blocks: {MIDDLE} is missing"),
    ],
    flip_code: [
        (CheckName.VERDICTS, FLIPPED_ID, FLIPPED, "found ENDORSEMENT_POLICY_FAILURE ("),
    ],
    flip_code_and_verdict: [
        (CheckName.VERDICTS, FLIPPED_ID, FLIPPED, "VALID contradicts the signatures: code 0, but "),
        (CheckName.DOCUMENTS, FLIPPED_ID, FLIPPED, "is stored, but not on the chain"),
    ],
    mislead_verification: [
        (CheckName.DOCUMENTS, "", None, f"verdicts {FIRST - 1}: definitionsBlock: "),
    ],
    write_no_text: [
        (CheckName.DIGESTS, "", MIDDLE, "transactions_ledger: the documents of the block were"),
        (CheckName.DOCUMENTS, "", None, "a stored document cannot be read"),
    ],
    confirm_failed_row: [
        (CheckName.ROWS, FAILED[0].tx_id, FAILED[0].block, "row: status CONFIRMED"),
    ],
    change_amount: [(CheckName.ROWS, VALID[0].tx_id, VALID[0].block, "ledger: status VALID")],
    invent_row: [(CheckName.ROWS, NO_BLOCK, None, "ledger: no such transaction")],
    delete_row: [(CheckName.MISSING_ROWS, VALID[0].tx_id, VALID[0].block, "no row names it")],
}
"""For each fault what must be found: the check, an id, the block, and a part of the text."""
