"""The totals of the recorded ledger's blocks, computed from what Fabric's own tools decoded."""

from datetime import datetime, timedelta

from protos import common_pb2 as common
from tests.explorer_api.support import Json
from tests.ledger.recorded import Recorded, recorded

RAFT: Recorded = recorded("raft-2.5")
UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


def headers(number: int) -> list[Json]:
    """Return the headers of the block's envelopes."""
    return [envelope["payload"]["header"] for envelope in RAFT.decoded[number]["data"]["data"]]


def chaincode_of(number: int, index: int) -> str | None:
    payload = RAFT.decoded[number]["data"]["data"][index]["payload"]
    if not payload["header"]["channel_header"]["extension"]:
        return None
    (invocation,) = payload["data"]["actions"]
    response = invocation["payload"]["action"]["proposal_response_payload"]
    name: str = response["extension"]["chaincode_id"]["name"]
    return name


def block_time(number: int) -> datetime:
    """Return the lower median of the clients' times."""
    times = sorted(
        datetime.fromisoformat(header["channel_header"]["timestamp"]) for header in headers(number)
    )
    median = times[(len(times) - 1) // 2]
    return median.replace(microsecond=median.microsecond // 1000 * 1000)


def block_totals(number: int) -> dict[str, int]:
    """Return the value of each metric for the block."""
    codes = [tx["validation"] for tx in RAFT.filtered[number]["txs"]]
    envelopes = common.Block.FromString(RAFT.blocks[number]).data.data
    return {
        "blocks": 1,
        "transactions": len(codes),
        "valid": codes.count("VALID"),
        "events": sum(event["blockNumber"] == number for event in RAFT.events),
        "bytes": sum(map(len, envelopes)),
    }
