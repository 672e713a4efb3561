"""`kindledger certificates` lists the certificates that signed, and prints one as PEM text."""

import asyncio
import csv
import json
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

from pymongo import AsyncMongoClient

from ledger.mongodb.store import LedgerStore
from tests.cli.support import Json, kindledger
from tests.indexer.changing_chain import LENGTH, USER, changing_chain
from tests.indexer.inventory import fingerprint, make_inventory, signers_in
from tests.indexer.test_certificates import NO_CHAIN, NO_MSP

CHANNEL = "kindledger"


async def test_the_inventory_on_a_terminal(mongo_uri: str) -> None:
    database = f"certificates_{uuid4().hex}"
    channels = {CHANNEL: {"database": database}, "other": {"database": f"{database}_2"}}
    settings: Json = {"mongo": {"uri": mongo_uri}, "channels": channels}

    async def run(*arguments: str) -> "CompletedProcess[str]":
        return await asyncio.to_thread(kindledger, "certificates", *arguments, settings=settings)

    user = fingerprint(USER.certificate)
    async with AsyncMongoClient[Any](mongo_uri) as client:
        await make_inventory(LedgerStore(client, database).database, changing_chain())
        everything, refused, of_org1, expiring, pem = await asyncio.gather(
            run("--json"),
            run("--refused", "--channel", CHANNEL),
            run("--msp-id", "Org1MSP", "--expiring-in", "10000", "--csv"),
            run("--expiring-in", "30", "--json"),
            run("--pem", user.upper()),
        )
        await client.drop_database(database)

    first, other = json.loads(everything.stdout)["channels"]
    signers = signers_in(changing_chain())
    assert (first["channel"], first["inventoryHeight"]) == (CHANNEL, LENGTH)
    assert {each["fingerprint"] for each in first["certificates"]} == signers.keys()
    assert other == {"channel": "other", "inventoryHeight": None, "certificates": []}
    lines = refused.stdout.splitlines()
    assert len(lines) == 3
    assert all(any(reason in line for line in lines) for reason in (NO_MSP, NO_CHAIN))
    rows = list(csv.DictReader(of_org1.stdout.splitlines()))
    assert {row["fingerprint"] for row in rows} == {
        key for key, uses in signers.items() if uses["mspId"] == "Org1MSP"
    }
    (row,) = [row for row in rows if row["fingerprint"] == user]
    assert (row["roles"], row["lastTransaction"], row["accepted"]) == ("creator", "10/0", "true")
    assert all(each["certificates"] == [] for each in json.loads(expiring.stdout)["channels"])
    assert pem.stdout.encode() == USER.certificate
