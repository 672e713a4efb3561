"""Verdicts and certificates need rights that roles of an older version do not grant."""

import asyncio
import json
from copy import deepcopy

from pymongo import MongoClient

from cli.doctor.checks import Outcome
from devnet.peer import Ledger, Peer, ServerTls
from devnet.peer.channel_config import organisations
from devnet.servers import Mongod
from ledger.mongodb.certificates import INVENTORY
from ledger.mongodb.collections import CERTIFICATES, SYNC_STATE, VERDICTS
from tests.cli.support import (
    CHANNEL,
    ROOT,
    SERVER,
    TLS_AUTHORITY,
    Files,
    Json,
    checks_of,
    forged_blocks,
    run_checks,
    running,
    uri_of,
)
from tests.eventually import eventually

HEIGHT = 10
DATABASE = "verdicts_refused"


def create_older_user(mongod: Mongod) -> str:
    """Create a user with the rights of an older version; return its address."""
    definitions = json.loads((ROOT / "config" / "mongo-roles.json").read_text())
    role = deepcopy(definitions["roles"][0])
    newer = (VERDICTS, CERTIFICATES)
    role["privileges"] = [
        each for each in role["privileges"] if each["resource"].get("collection") not in newer
    ]
    with MongoClient[Json](mongod.uri) as client:
        client.admin.command("createRole", "olderIndexer", privileges=role["privileges"], roles=[])
        client.admin.command("createUser", "older", pwd="older-pw", roles=["olderIndexer"])
    return uri_of(mongod, "older")


async def test_without_the_right_the_indexing_goes_on_and_the_reason_is_shown(
    guarded_mongod: Mongod, files: Files
) -> None:
    """When the role is up to date, the verification goes on by itself."""
    uri = create_older_user(guarded_mongod)
    blocks = forged_blocks(HEIGHT)
    tls = ServerTls(SERVER, TLS_AUTHORITY.certificate)
    async with Peer(
        {CHANNEL: Ledger(blocks)}, tls=tls, organisations=organisations(blocks[0])
    ) as peer:
        settings: Json = {
            "mongo": {"uri": uri},
            "channels": {CHANNEL: {"database": DATABASE}},
            "fabric": files.fabric(f"grpcs://localhost:{peer.port}"),
            "verification": {"envelopes": True},
        }
        checks = checks_of(await run_checks(settings), f"mongodb, {CHANNEL}")
        assert checks["rights"].outcome is Outcome.FAILED
        assert "verdicts: find, insert" in checks["rights"].detail
        assert "certificates: createIndex, find, insert, update" in checks["rights"].detail
        not_verified = settings | {"verification": {"envelopes": False}}
        checks = checks_of(await run_checks(not_verified), f"mongodb, {CHANNEL}")
        assert checks["rights"].detail == f"exactly the needed rights on database {DATABASE}"
        async with running("run", settings=settings) as daemon:
            logged = await daemon.wait_for_event("verification_held_up")
            assert "run config/mongo-roles.js again" in logged["error"]
            state = await eventually(
                lambda: asyncio.to_thread(sync_state, guarded_mongod),
                lambda state: (
                    state.get("committedHeight") == HEIGHT
                    and state.get("verificationError") is not None
                ),
            )
            assert "config/mongo-roles.js" in state["verificationError"]["message"]
            await asyncio.to_thread(grant_the_present_role, guarded_mongod)
            await eventually(
                lambda: asyncio.to_thread(sync_state, guarded_mongod),
                lambda state: state.get("verifiedHeight") == HEIGHT,
                within_s=20,
            )
    with MongoClient[Json](guarded_mongod.uri) as client:
        inventory = client[DATABASE][CERTIFICATES].find_one({"_id": INVENTORY})
    assert inventory is not None
    assert inventory["complete"]["height"] == HEIGHT


def grant_the_present_role(mongod: Mongod) -> None:
    with MongoClient[Json](mongod.uri) as client:
        client.admin.command("grantRolesToUser", "older", roles=["kindledgerIndexer"])


def sync_state(mongod: Mongod) -> Json:
    with MongoClient[Json](mongod.uri) as client:
        return client[DATABASE][SYNC_STATE].find_one({"_id": CHANNEL}) or {}
