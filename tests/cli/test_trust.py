"""Which peers must agree, and with which one a stored ledger is compared."""

import asyncio
from pathlib import Path

import pytest

from cli.assembly.agreement import channel_agreement
from cli.assembly.network import endpoints
from cli.configuration.settings import FabricSettings, Settings
from cli.doctor.checks import Outcome
from cli.doctor.trust import check_trust
from cli.errors import ConfigurationError
from devnet.peer import Ledger, Lie, Peer, ServerTls, lying_ledger
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState, write_sync_state
from tests.cli.configuring import write
from tests.cli.support import (
    CHANNEL,
    SERVER,
    TLS_AUTHORITY,
    Files,
    Json,
    kindledger,
)
from tests.explorer_api.support import sync_state
from tests.indexer.network import HEIGHT, TRUNK
from tests.indexer.support import ScriptedSource, index

PROFILE = """
organizations:
  One: {mspid: Org1MSP, peers: [peer0.org1, peer1.org1]}
  Two: {mspid: Org2MSP, peers: [peer0.org2]}
peers:
  peer0.org1: {url: 'grpc://a:1'}
  peer1.org1: {url: 'grpc://b:1'}
  peer0.org2: {url: 'grpc://c:1'}
  peer0.org3: {url: 'grpc://d:1'}
"""


def test_a_connection_profile_names_the_peers_and_their_organisations(tmp_path: Path) -> None:
    profile = FabricSettings(connection_profile=write(tmp_path, PROFILE, "profile.yaml"))
    assert [(peer.label, peer.msp_id) for peer in endpoints(profile, CHANNEL)] == [
        ("peer0.org1", "Org1MSP"),
        ("peer1.org1", "Org1MSP"),
        ("peer0.org2", "Org2MSP"),
        ("peer0.org3", None),
    ]


@pytest.mark.parametrize(
    ("msp_ids", "required", "outcome", "text"),
    [
        (["Org1MSP"], 1, Outcome.OK, "1 peers of 1 organisations"),
        (["Org1MSP", "Org2MSP"], 2, Outcome.OK, "when 2 of them gave it"),
        (["Org1MSP", None], 2, Outcome.WARNING, "organisation of 1 peers is not known"),
        (["Org1MSP", "Org1MSP"], 2, Outcome.FAILED, "belong to 1."),
        ([None, None, None], 2, Outcome.FAILED, "3 peers is not known, and they count as one"),
    ],
)
def test_doctor_refuses_to_require_more_organisations_than_there_are(
    msp_ids: list[str | None], required: int, outcome: Outcome, text: str
) -> None:
    peers = [
        {"address": f"grpc://peer{number}:1", "msp_id": msp_id}
        for number, msp_id in enumerate(msp_ids)
    ]
    settings = Settings.model_validate(
        {
            "fabric": {"peers": peers},
            "trust": {"peers_required": required},
            "channels": {CHANNEL: {}},
        }
    )
    (check,) = check_trust(settings)
    assert (check.outcome, text in check.detail) == (outcome, True), check


def test_the_daemon_does_not_start_if_no_block_could_be_agreed() -> None:
    settings = Settings.model_validate({"trust": {"peers_required": 2}})
    with pytest.raises(ConfigurationError, match=r"trust\.peers_required"):
        channel_agreement(settings, CHANNEL, [])


async def test_verify_asks_another_peer_than_the_data_came_from(
    mongo_uri: str, store: LedgerStore, files: Files
) -> None:
    """The stored ledger came from a liar, which is the first configured peer."""
    lying = lying_ledger(Ledger(TRUNK), Lie.FLIP, 5)
    tls = ServerTls(SERVER, TLS_AUTHORITY.certificate)
    async with (
        Peer({CHANNEL: lying}, tls=tls) as liar,
        Peer({CHANNEL: Ledger(TRUNK)}, tls=tls) as honest,
    ):
        await index(store, ScriptedSource([lying.block(number) for number in range(HEIGHT)]))
        followed = sync_state(state=ChannelState.STOPPED, peer=f"localhost:{liar.port}")
        await write_sync_state(store.database, followed)
        fabric = files.fabric(f"grpcs://localhost:{liar.port}")
        fabric["peers"][0]["name"] = "liar"
        fabric["peers"].append(
            fabric["peers"][0] | {"name": "honest", "address": f"grpcs://localhost:{honest.port}"}
        )

        async def verify(source: str, peers: list[Json]) -> tuple[int, str]:
            settings = {
                "mongo": {"uri": mongo_uri},
                "channels": {CHANNEL: {"database": store.database.name}},
                "fabric": fabric | {"peers": peers},
            }
            result = await asyncio.to_thread(
                kindledger, "verify", "--no-signatures", "--source", source, settings=settings
            )
            return result.returncode, result.stderr

        both = fabric["peers"]
        closed = {"name": "closed", "address": "grpcs://localhost:1", "tls_ca": both[0]["tls_ca"]}
        for source, peers, code, shown in (
            ("peer", [closed, *both], 65, f"also against peer localhost:{honest.port}"),
            ("peer", both[:1], 0, f"also against peer localhost:{liar.port}: no difference"),
            ("peer:honest", both, 65, "3 differences"),
            (f"peer:localhost:{honest.port}", both, 65, "3 differences"),
            ("peer:nobody", both, 78, f"liar (localhost:{liar.port}), honest (localhost:"),
        ):
            ended, messages = await verify(source, peers)
            assert (ended, shown in messages) == (code, True), (source, messages)
