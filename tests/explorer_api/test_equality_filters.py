"""Equality filters: `field` and `field.eq` are two spellings of one parameter."""

import pytest

from tests.explorer_api.support import Api, C


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/transactions", "chaincode", "kindledger"),
        ("/transactions", "creatorMsp", "Org1MSP"),
        ("/transactions", "type", "ENDORSER_TRANSACTION"),
        ("/transactions", "status", "VALID"),
        ("/events", "chaincode", "kindledger"),
        ("/events", "name", "Mint"),
    ],
)
async def test_both_spellings_give_the_same_pages(
    recorded_api: Api, path: str, name: str, value: str
) -> None:
    """A cursor of one spelling continues with the other one."""
    short, long = (f"{C}{path}?limit=2&{field}={value}" for field in (name, f"{name}.eq"))
    first = (await recorded_api.get(short)).json
    assert first == (await recorded_api.get(long)).json
    cursor = first["page"]["next"]
    second = (await recorded_api.get(f"{long}&cursor={cursor}")).json
    assert second == (await recorded_api.get(f"{short}&cursor={cursor}")).json
    assert len(first["items"]) == len(second["items"]) == 2
    assert first["items"] != second["items"]


async def test_both_spellings_of_filters_that_select_little_give_the_same(
    recorded_api: Api,
) -> None:
    tx_id = (await recorded_api.channel("/events", limit=1))["items"][0]["txId"]
    events = await recorded_api.items("/events", **{"txId.eq": tx_id})
    assert len(events) == 1
    assert events == await recorded_api.items("/events", txId=tx_id)
    minted = f"{C}/transactions?chaincode.eq=kindledger&function.eq=Mint"
    short = f"{C}/transactions?chaincode=kindledger&function=Mint"
    assert (await recorded_api.get(minted)).json == (await recorded_api.get(short)).json
