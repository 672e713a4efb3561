"""Fixtures of the tests of the devnet."""

from collections.abc import AsyncIterator
from itertools import islice

import asyncpg
import pytest
from cryptography import x509

from devnet.forge.forger import ForgedBlock, forge
from devnet.peer import Ledger, Peer
from protos.common_pb2 import Block
from protos.msp_pb2 import FabricMSPConfig, MSPConfig
from tests.devnet.business_database import Database
from tests.devnet.deliver_client import BLOCKS as PEER_BLOCKS
from tests.devnet.deliver_client import CHANNEL, MEMBERSHIP, MUTUAL_TLS
from tests.devnet.forged_chain import BLOCKS, RECIPE
from tests.devnet.signatures import config_of


@pytest.fixture(scope="session")
def forged() -> list[ForgedBlock]:
    return list(islice(forge(RECIPE), BLOCKS))


@pytest.fixture
async def database(business_database: str) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(business_database)
    yield Database(connection)
    await connection.close()


@pytest.fixture(scope="session")
def blocks(forged: list[ForgedBlock]) -> list[Block]:
    return [Block.FromString(block.data) for block in forged]


@pytest.fixture(scope="session")
def roots(blocks: list[Block]) -> dict[str, x509.Certificate]:
    """The root certificate of each MSP in the genesis block."""
    channel = config_of(blocks[0]).config.channel_group
    organisations = [
        *channel.groups["Application"].groups.values(),
        *channel.groups["Orderer"].groups.values(),
    ]
    msps = [
        FabricMSPConfig.FromString(MSPConfig.FromString(group.values["MSP"].value).config)
        for group in organisations
    ]
    assert all(msp.fabric_node_ous.enable and msp.tls_root_certs for msp in msps)
    return {msp.name: x509.load_pem_x509_certificate(msp.root_certs[0]) for msp in msps}


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer(
        {CHANNEL: Ledger(PEER_BLOCKS)}, tls=MUTUAL_TLS, organisations=MEMBERSHIP
    ) as running:
        yield running
