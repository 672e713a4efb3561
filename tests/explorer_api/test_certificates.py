"""The certificates that signed: the list with its filters, and one certificate."""

from itertools import product
from typing import Any

import pytest
from cryptography import x509
from pymongo import AsyncMongoClient

from ledger.mongodb.store import LedgerStore
from tests.explorer_api.support import CHANNEL, Api, Json, append, decoded
from tests.indexer.changing_chain import LENGTH, ORG2, ORG3, REMOVED, USER, changing_chain
from tests.indexer.inventory import fingerprint, make_inventory, signers_in
from tests.indexer.test_certificates import NO_MSP

PATH = f"/api/v1/channels/{CHANNEL}/certificates"


@pytest.fixture
async def signed(api: Api, client: AsyncMongoClient[Any], database_name: str) -> Api:
    """The API over a chain that no longer accepts some of its signers, and their inventory."""
    await append(client, database_name, [decoded(block) for block in changing_chain()])
    await make_inventory(LedgerStore(client, database_name).database, changing_chain())
    return api


async def test_the_list_has_every_signer_with_every_combination_of_filters(signed: Api) -> None:
    everything = await signed.channel("/certificates")
    items: list[Json] = everything["items"]
    assert everything["inventoryHeight"] == LENGTH
    assert {each["fingerprint"] for each in items} == signers_in(changing_chain()).keys()
    latest = max(each["notAfter"] for each in items)
    for msp_id, role, accepted, before in product(
        (None, "Org1MSP", "Org3MSP"), (None, "creator", "orderer"), (None, True), (None, latest)
    ):
        filters: Json = {
            "mspId": msp_id,
            "role.eq": role,
            "accepted": None if accepted is None else "true",
            "notAfter.lt": before,
        }
        given = {name: value for name, value in filters.items() if value is not None}
        expected = [
            each
            for each in items
            if msp_id in (None, each["mspId"])
            and (role is None or role in each["roles"])
            and accepted in (None, each["accepted"])
            and (before is None or each["notAfter"] < before)
        ]
        for order in ("asc", "desc"):
            found = await signed.items("/certificates", limit=1, order=order, **given)
            assert found == (expected if order == "asc" else expected[::-1]), given


async def test_a_certificate_tells_whether_it_is_accepted_and_has_its_pem(signed: Api) -> None:
    """The fingerprint is that of creators and endorsers in transactions."""
    creator = (await signed.channel("/blocks/2/transactions/0"))["creator"]
    assert creator["fingerprint"] == fingerprint(USER.certificate)
    user = await signed.channel(f"/certificates/{creator['fingerprint'].upper()}")
    assert user["pem"].encode() == USER.certificate
    parsed = x509.load_pem_x509_certificate(USER.certificate)
    assert user["serialNumber"] == f"{parsed.serial_number:x}"
    assert user["subject"] == creator["subject"]
    assert (user["nodeRole"], user["roles"], user["accepted"]) == ("client", ["creator"], True)
    assert user["firstTransaction"] == {"block": 2, "index": 0}
    assert user["lastTransaction"] == {"block": LENGTH - 1, "index": 0}
    removed = await signed.channel(f"/certificates/{fingerprint(ORG3.clients[0].certificate)}")
    assert (removed["accepted"], removed["refusal"]) == (False, NO_MSP)
    assert removed["judgedAt"] == REMOVED
    refused = await signed.items("/certificates", accepted="false")
    assert {each["fingerprint"] for each in refused} == {
        removed["fingerprint"],
        fingerprint(ORG2.peer.certificate),
    }


async def test_a_certificate_that_never_signed_is_not_found(signed: Api) -> None:
    unused = fingerprint(ORG2.admin.certificate)
    problem = await signed.problem(f"{PATH}/{unused}", 404, "certificate-not-found")
    assert f"below {LENGTH}" in problem.json["detail"]
    await signed.problem(f"{PATH}/{unused[1:]}", 400, "invalid-parameter")


async def test_without_an_inventory_the_list_is_empty(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [decoded(block) for block in changing_chain()])
    assert await api.channel("/certificates", mspId="Org1MSP") == {
        "items": [],
        "page": {"next": None, "limit": 50},
        "inventoryHeight": None,
    }
    await api.problem(f"{PATH}/{fingerprint(USER.certificate)}", 404, "certificate-not-found")
