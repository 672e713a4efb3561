"""Chaincodes: the list of a channel, and one chaincode with its definitions."""

from typing import Any

from explorer_api.http.problems import ProblemError, quoted
from explorer_api.http.responses import HALF_A_MINUTE, ApiResponse
from explorer_api.live.channel_totals import ChannelTotals
from explorer_api.resources.totals import MAX_LISTED_NAMES, channel_totals
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
    """Return all chaincodes that a transaction names or that the channel has defined."""
    totals = await channel_totals(call)
    definitions = await chaincode_definitions(call, totals)
    rows = [
        ChaincodeRow(**_row_fields(name, totals, definition))
        for name, definition in definitions.items()
    ]
    rows.sort(key=lambda row: (-row.transactions, row.name))
    more = len(rows) > MAX_LISTED_NAMES
    body = ChaincodeList(rows[:MAX_LISTED_NAMES], more, call.snapshot.height)
    return ApiResponse(body, HALF_A_MINUTE)


async def get_chaincode(call: ChannelCall) -> ApiResponse:
    """Return a chaincode with its totals and all its definitions."""
    name = call.path["name"].decode(errors="backslashreplace")
    totals = await channel_totals(call)
    definitions = await call.channel.reader.chaincode_definitions(call.last, name)
    if not definitions and name not in totals.blocks.chaincodes and name not in totals.events:
        call.require_fresh_head()
        raise ProblemError(
            404,
            "chaincode-not-found",
            "Chaincode not found",
            f"No transaction names a chaincode {quoted(name)}, and the channel has no definition "
            "of it.",
            "/chaincodes lists the chaincodes of the channel. Check upper and lower case. Names of "
            "more than 1,024 characters are not listed.",
        )
    detail = ChaincodeDetail(
        **_row_fields(name, totals, definitions[-1] if definitions else None),
        definitions=[read_definition(document) for document in reversed(definitions)],
        height=call.snapshot.height,
    )
    return ApiResponse(detail, HALF_A_MINUTE)


async def chaincode_definitions(
    call: ChannelCall, totals: ChannelTotals
) -> dict[str, Document | None]:
    """Return the names of all chaincodes, each with its definition in force or None."""
    definitions = await call.channel.reader.chaincode_definitions(call.last)
    in_force = {document["lifecycle"]["name"]: document for document in definitions}
    names = {*totals.blocks.chaincodes, *totals.events, *in_force}
    return {name: in_force.get(name) for name in names if name is not None}


def _row_fields(
    name: str, totals: ChannelTotals, definition_in_force: Document | None
) -> dict[str, Any]:
    activity = totals.blocks.chaincodes.get(name)
    lifecycle = definition_in_force["lifecycle"] if definition_in_force is not None else None
    return {
        "name": name,
        "version": read_text(lifecycle["version"]) if lifecycle is not None else None,
        "sequence": lifecycle["sequence"] if lifecycle is not None else None,
        "transactions": activity.transactions if activity is not None else 0,
        "events": totals.events.get(name, 0),
        "first_block": activity.first_block if activity is not None else None,
        "last_block": activity.last_block if activity is not None else None,
    }
