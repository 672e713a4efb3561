"""Chaincodes: what was seen of each on the channel, and how each was defined."""

from typing import Any

from explorer_api.http.problems import ProblemError, quoted
from explorer_api.http.responses import ApiResponse
from explorer_api.live.running_totals import ChannelTotals
from explorer_api.resources.stats import HALF_A_MINUTE, MAX_NAMES, channel_totals
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.chaincodes import (
    ChaincodeDetail,
    ChaincodeList,
    ChaincodeRow,
    read_definition,
)
from explorer_api.schemas.stored_values import read_text
from ledger.documents.format import Document


async def list_chaincodes(call: ChannelCall) -> ApiResponse:
    """Every chaincode that a transaction named or the channel defined."""
    counted = await channel_totals(call)
    known = await known_chaincodes(call, counted)
    rows = [
        ChaincodeRow(**_row_fields(name, counted, definition)) for name, definition in known.items()
    ]
    rows.sort(key=lambda row: (-row.transactions, row.name))
    return ApiResponse(
        ChaincodeList(rows[:MAX_NAMES], len(rows) > MAX_NAMES, call.snapshot.height), HALF_A_MINUTE
    )


async def get_chaincode(call: ChannelCall) -> ApiResponse:
    """One chaincode: what was seen of it, and every definition of it."""
    name = call.path["name"].decode(errors="backslashreplace")
    counted = await channel_totals(call)
    definitions = await _definitions(call, name)
    if not definitions and name not in counted.blocks.chaincodes and name not in counted.events:
        call.require_fresh_head()
        raise ProblemError(
            404,
            "chaincode-not-found",
            "Chaincode not found",
            f"No transaction names a chaincode {quoted(name)}, and the channel has not defined one.",
            "/chaincodes lists those that were seen. Case matters; names of more than 1,024 characters are not listed.",
        )
    detail = ChaincodeDetail(
        **_row_fields(name, counted, definitions[-1] if definitions else None),
        definitions=[read_definition(document) for document in reversed(definitions)],
        height=call.snapshot.height,
    )
    return ApiResponse(detail, HALF_A_MINUTE)


async def known_chaincodes(call: ChannelCall, counted: ChannelTotals) -> dict[str, Document | None]:
    """Every chaincode that a transaction named or the channel defined, and the definition in force, if there is one."""
    defined = {
        document["lifecycle"]["name"]: document for document in await _definitions(call, None)
    }
    names = {*counted.blocks.chaincodes, *counted.events, *defined}
    return {name: defined.get(name) for name in names if name is not None}


async def _definitions(call: ChannelCall, name: str | None) -> list[Document]:
    return await call.channel.reader.chaincode_definitions(call.last, name)


def _row_fields(name: str, counted: ChannelTotals, definition: Document | None) -> dict[str, Any]:
    seen = counted.blocks.chaincodes.get(name)
    in_force = definition["lifecycle"] if definition is not None else None
    return {
        "name": name,
        "version": read_text(in_force["version"]) if in_force is not None else None,
        "sequence": in_force["sequence"] if in_force is not None else None,
        "transactions": seen.transactions if seen is not None else 0,
        "events": counted.events.get(name, 0),
        "first_block": seen.first_block if seen is not None else None,
        "last_block": seen.last_block if seen is not None else None,
    }
