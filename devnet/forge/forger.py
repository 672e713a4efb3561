"""Forges endless chains: the genesis block, the set-up, then KindLedger's transactions."""

from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import Struct

from devnet.forge import lifecycle
from devnet.forge.chain import Chain
from devnet.forge.chaincode_definitions import definitions
from devnet.forge.chaincode_deployment import ChaincodeDeployment
from devnet.forge.chaincodes import WRITE_ONCE
from devnet.forge.config_updates import (
    acl_update,
    anchor_peer_update,
    batch_size_update,
    organisation_update,
)
from devnet.forge.gateway import Endorsed, Gateway, Submission, timestamp
from devnet.forge.identities import Signer
from devnet.forge.invocations import BULK, EVERYDAY, InvocationGenerator
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from devnet.forge.workload import Workload
from devnet.forge.world_state import KeyVersion, WorldState
from protos.configuration_pb2 import ConfigUpdate

_BLOCKS_PER_CONFIG_UPDATE = 100
_ACLS = {
    "event/Block": "/Channel/Application/Readers",
    "event/FilteredBlock": "/Channel/Application/Readers",
}
_MIN_ACCOUNTS = 1_000


class Recipe(Struct, frozen=True, kw_only=True):
    """The parameters of a chain: equal recipes give equal blocks, byte for byte.

    `transactions_per_block`: a number, or a range from which each block takes a random number.
    `invalid_share`: the share of transactions that fail, from 0 to 1. A quarter of them need an
    additional valid transaction.
    `hostile_share`: the share of hostile envelopes, from 0 to 1.
    `bulk`: only donations, mints and transfers, as in the benchmarks.
    `signed`: False replaces the signatures of clients and endorsers by placeholders, which is
    several times faster.
    `started`: the time of the genesis block; the transactions of block n are signed n intervals
    later.
    `branch_at`: the first block that differs from the chain without a branch.
    """

    seed: int = 1
    channel: str = "kindledger"
    organisations: int = 2
    transactions_per_block: int | range = range(1, 11)
    invalid_share: float = 0.03
    hostile_share: float = 0.0
    bulk: bool = False
    signed: bool = True
    started: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    interval_milliseconds: int = 1_000
    branch_at: int | None = None

    def network(self) -> Network:
        """Return the network whose members sign the chain."""
        return Network(self.seed, self.channel, self.organisations, signed=self.signed)


class ForgedBlock(Struct, frozen=True):
    """A serialized `common.Block` and its submissions; a CONFIG block has no submissions."""

    number: int
    data: bytes
    submissions: tuple[Submission, ...] = ()


def forge(recipe: Recipe) -> Iterator[ForgedBlock]:
    """Yield an endless chain from its genesis block on.

    As on every new channel, anchor peers, approvals and commits of both chaincodes come first.
    Every hundredth block is a configuration update. To continue at block n, forge again and skip n
    blocks.
    """
    return _Forge(recipe).blocks()


class _Forge:
    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._network = recipe.network()
        self._chain = Chain(self._network)
        self._state = WorldState(write_once=WRITE_ONCE)
        sizes = recipe.transactions_per_block
        self._sizes = sizes if isinstance(sizes, range) else range(sizes, sizes + 1)
        gateway = Gateway(self._network, self._state)
        self._deployment = ChaincodeDeployment(self._network, gateway)
        self._workload = Workload(
            self._network,
            self._state,
            gateway,
            InvocationGenerator(
                BULK if recipe.bulk else EVERYDAY,
                accounts=max(_MIN_ACCOUNTS, 2 * self._sizes[-1]),
            ),
            invalid_share=recipe.invalid_share,
            hostile_share=recipe.hostile_share,
        )

    def blocks(self) -> Iterator[ForgedBlock]:
        yield ForgedBlock(0, self._chain.genesis(self._milliseconds() // 1000))
        yield from self._set_up()
        while True:
            yield (
                self._reconfigure()
                if self._chain.height % _BLOCKS_PER_CONFIG_UPDATE == 0
                else self._work()
            )

    def _set_up(self) -> Iterator[ForgedBlock]:
        for organisation in self._network.organisations:
            update = anchor_peer_update(self._network.channel, self._chain.config, organisation)
            yield self._configure(update, [organisation.admin])
        for definition in definitions(self._network):
            for organisation in self._network.organisations:
                approval = self._deployment.approve(
                    definition,
                    organisation,
                    random=self._random_stream(),
                    timestamp=timestamp(self._milliseconds()),
                )
                yield self._deploy("ApproveChaincodeDefinitionForMyOrg", approval)
            commit = self._deployment.commit(
                definition, random=self._random_stream(), timestamp=timestamp(self._milliseconds())
            )
            yield self._deploy("CommitChaincodeDefinition", commit)

    def _deploy(self, function: str, endorsed: Endorsed) -> ForgedBlock:
        code = self._state.commit(endorsed.simulation, KeyVersion(self._chain.height, 0))
        return self._cut(
            [Submission(endorsed.envelope, code, endorsed.tx_id, lifecycle.NAMESPACE, function)]
        )

    def _work(self) -> ForgedBlock:
        random = self._random_stream()
        size = random.pick(self._sizes)
        return self._cut(
            self._workload.batch(self._chain.height, size, random, self._milliseconds())
        )

    def _cut(self, submissions: list[Submission]) -> ForgedBlock:
        number = self._chain.height
        data = self._chain.cut(
            [(submission.envelope, submission.code) for submission in submissions]
        )
        return ForgedBlock(number, data, tuple(submissions))

    def _reconfigure(self) -> ForgedBlock:
        """Return the next update: first an organisation, then access policies, then batch sizes."""
        channel, config = self._network.channel, self._chain.config
        count = self._chain.height // _BLOCKS_PER_CONFIG_UPDATE
        organisations = self._network.organisations
        majority = [
            organisation.admin for organisation in organisations[: len(organisations) // 2 + 1]
        ]
        match count:
            case 1:
                return self._configure(
                    organisation_update(channel, config, self._network.newcomer), majority
                )
            case 2:
                return self._configure(acl_update(channel, config, _ACLS), majority)
        return self._configure(
            batch_size_update(channel, config, 500 + count), [self._network.ordering.admin]
        )

    def _configure(self, update: ConfigUpdate, admins: list[Signer]) -> ForgedBlock:
        number = self._chain.height
        return ForgedBlock(
            number, self._chain.configure(update, admins, self._milliseconds() // 1000)
        )

    def _random_stream(self) -> RandomStream:
        recipe, number = self._recipe, self._chain.height
        branch = (
            "branch" if recipe.branch_at is not None and number >= recipe.branch_at else "trunk"
        )
        return RandomStream(f"{recipe.seed}/{recipe.channel}/{branch}/{number}")

    def _milliseconds(self) -> int:
        """Return the time of the next block, since 1970."""
        started = int(self._recipe.started.timestamp() * 1000)
        return started + self._chain.height * self._recipe.interval_milliseconds
