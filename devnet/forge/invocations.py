"""Generates the invocations of KindLedger's chaincodes, with their arguments.

An invocation avoids the keys that earlier invocations of the block write, so that it succeeds. Only
`conflicting` and `phantom` return invocations that fail.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec import Struct, field

from devnet.forge.chaincode_stub import Outcome, Stub
from devnet.forge.chaincodes import FUNCTIONS, KINDLEDGER, TOKEN
from devnet.forge.envelopes import Chaincode
from devnet.forge.lifecycle import read_sequence
from devnet.forge.random_stream import RandomStream

INITIAL_CAMPAIGNS = 10
_MAX_KNOWN_CAMPAIGNS = 200
_MAX_KNOWN_KEYS = 100

_CAUSES = (
    "Áo ấm vùng cao",
    "Bữa cơm có thịt",
    "Mổ tim cho em",
    "Xây trường Tà Xùa",
    "Nước sạch Trà Leng",
    "Cứu trợ bão lũ miền Trung",
    "Sách cho em vùng biên",
    "Cầu treo Nặm Tôm",
)
_FAMILY_NAMES = (
    "Nguyễn",
    "Trần",
    "Lê",
    "Phạm",
    "Hoàng",
    "Huỳnh",
    "Phan",
    "Vũ",
    "Võ",
    "Đặng",
    "Bùi",
    "Đỗ",
)
_GIVEN_NAMES = (
    "Thị Ánh",
    "Văn Bình",
    "Minh Châu",
    "Quốc Dũng",
    "Thu Hà",
    "Đức Huy",
    "Ngọc Lan",
    "Bảo Ngân",
)
_STATUSES = ("FUNDED", "PAUSED", "CLOSED", "OPEN")
_STORY_TEXT = "Chiến dịch quyên góp “{}”, ủng hộ {}₫ \0 và \u2028 hết"


class ChaincodeFunction(NamedTuple):
    """A chaincode and the name of one of its functions."""

    chaincode: Chaincode
    name: str


class Invocation(NamedTuple):
    """A chaincode function and its arguments."""

    function: ChaincodeFunction
    args: tuple[str, ...]

    def execute(self, stub: Stub) -> Outcome:
        """Run the chaincode function."""
        read_sequence(stub.simulation, self.function.chaincode.name)
        return FUNCTIONS[self.function.name](stub, *self.args)


def _mix(weights: Mapping[str, int]) -> tuple[ChaincodeFunction, ...]:
    return tuple(
        ChaincodeFunction(KINDLEDGER, function)
        for function, weight in weights.items()
        for _ in range(weight)
    )


EVERYDAY = (
    *_mix(
        {
            "Donate": 60,
            "Mint": 34,
            "Transfer": 22,
            "TokenDonate": 14,
            "DonatePrivate": 12,
            "Disburse": 10,
            "CreateCampaign": 5,
            "UpdateStatus": 8,
            "PutNote": 6,
            "Query": 5,
            "RangeCount": 4,
            "NoOp": 3,
            "TellStory": 3,
            "DonatePrivateOrg1": 3,
            "DeletePrivate": 2,
            "PurgePrivate": 2,
            "DeleteNotes": 2,
            "SetKeyPolicy": 1,
            "BinaryEvent": 1,
            "EmptyEvent": 1,
        }
    ),
    ChaincodeFunction(TOKEN, "Mint"),
    ChaincodeFunction(TOKEN, "Transfer"),
)
"""All chaincode functions; a frequent function occurs several times."""

BULK = _mix({"Donate": 2, "Mint": 1, "Transfer": 1})
"""The chaincode functions of the benchmarks."""


class _BlockWrites(Struct):
    """The keys that earlier transactions of the block write."""

    updated: set[str] = field(default_factory=set)
    created: list[str] = field(default_factory=list)
    minted: list[str] = field(default_factory=list)


class InvocationGenerator:
    """Generates invocations, at random but reproducibly.

    `mix` holds the functions to choose from. `accounts` is the number of token accounts: at least
    twice the number of transactions in a block, because the accounts take turns and none may occur
    twice in a block.
    """

    def __init__(self, mix: tuple[ChaincodeFunction, ...], accounts: int) -> None:
        self._mix = mix
        self._accounts = accounts
        self._next_account = 0
        self._campaigns_created = 0
        self._campaigns: deque[str] = deque(maxlen=_MAX_KNOWN_CAMPAIGNS)
        self._private_keys: deque[str] = deque(maxlen=_MAX_KNOWN_KEYS)
        self._notes: deque[str] = deque(maxlen=_MAX_KNOWN_KEYS)
        self._written = _BlockWrites()
        self._random = RandomStream("")
        self._arguments: dict[str, Callable[[], tuple[str, ...] | None]] = {
            "CreateCampaign": self._create_campaign,
            "UpdateStatus": self._update_status,
            "Donate": lambda: (self._unchanged_campaign(), self._person(), self._amount()),
            "DonatePrivate": lambda: (self._unchanged_campaign(),),
            "DonatePrivateOrg1": lambda: (self._unchanged_campaign(),),
            "DeletePrivate": self._private_donation_key,
            "PurgePrivate": self._private_donation_key,
            "Disburse": lambda: (self._unchanged_campaign(), self._amount()),
            "Mint": self._mint,
            "Transfer": lambda: (self._account(), self._account(), self._amount()),
            "TokenDonate": lambda: (self._unchanged_campaign(), self._account(), self._amount()),
            "RangeCount": self._range_count,
            "Query": lambda: (f"campaign:{self._unchanged_campaign()}",),
            "PutNote": lambda: (self._random_id(), f"Ghi chú của {self._person()}"),
            "DeleteNotes": self._delete_notes,
            "SetKeyPolicy": lambda: (self._random_id(), "Org1MSP"),
            "TellStory": lambda: (
                self._random_id(),
                _STORY_TEXT.format(self._random.pick(_CAUSES), self._amount()),
            ),
            "BinaryEvent": lambda: (self._random_id(),),
            "EmptyEvent": tuple,
            "NoOp": tuple,
        }

    @property
    def has_campaigns(self) -> bool:
        """Whether campaigns exist; until then only `open_campaign` succeeds."""
        return bool(self._campaigns)

    def begin_block(self, random: RandomStream) -> None:
        """Start a block without written keys, and take random values from `random` from now on."""
        self._random = random
        self._written = _BlockWrites()

    def next(self) -> Invocation:
        """Return an invocation that will succeed."""
        function = self._random.pick(self._mix)
        args = self._arguments[function.name]()
        return self.donation() if args is None else Invocation(function, args)

    def donation(self) -> Invocation:
        """Return a donation that will succeed."""
        return Invocation(
            ChaincodeFunction(KINDLEDGER, "Donate"),
            (self._unchanged_campaign(), self._person(), self._amount()),
        )

    def open_campaign(self) -> Invocation:
        """Return the creation of a campaign."""
        return Invocation(ChaincodeFunction(KINDLEDGER, "CreateCampaign"), self._create_campaign())

    def mint(self) -> Invocation:
        """Return the creation of tokens in an account that the block does not use yet."""
        return Invocation(ChaincodeFunction(KINDLEDGER, "Mint"), self._mint())

    def update(self) -> Invocation | None:
        """Return a status change; None if the block changes too many campaigns already."""
        args = self._update_status()
        return args and Invocation(ChaincodeFunction(KINDLEDGER, "UpdateStatus"), args)

    def conflicting(self) -> Invocation | None:
        """Return an invocation that reads a key written in the block; None without such a key."""
        if not self._written.minted:
            return None
        account = self._random.pick(self._written.minted)
        return Invocation(ChaincodeFunction(KINDLEDGER, "Mint"), (account, self._amount()))

    def phantom(self) -> Invocation | None:
        """Return a range query over a campaign created in the block; None if none was created."""
        if not self._written.created:
            return None
        return Invocation(
            ChaincodeFunction(KINDLEDGER, "RangeCount"),
            _campaign_range(self._random.pick(self._written.created)[:-1]),
        )

    def committed(self, invocation: Invocation, tx_id: str) -> None:
        """Record the new keys of a valid invocation, for later invocations to use."""
        match invocation.function.name:
            case "CreateCampaign":
                self._campaigns.append(invocation.args[0])
            case "DonatePrivate":
                self._private_keys.append(f"donor:{invocation.args[0]}:{tx_id}")
            case "PutNote":
                self._notes.append(invocation.args[0])

    def _create_campaign(self) -> tuple[str, str, str]:
        self._campaigns_created += 1
        campaign = f"cd-{self._campaigns_created:06d}"
        self._written.created.append(campaign)
        name = f"{self._random.pick(_CAUSES)} {self._campaigns_created}"
        return campaign, name, str((self._random.below(500) + 1) * 1_000_000)

    def _update_status(self) -> tuple[str, str] | None:
        if (len(self._written.updated) + 1) * 2 > len(self._campaigns):
            return None
        campaign = self._unchanged_campaign()
        self._written.updated.add(campaign)
        return campaign, self._random.pick(_STATUSES)

    def _mint(self) -> tuple[str, str]:
        account = self._account()
        self._written.minted.append(account)
        return account, self._amount()

    def _range_count(self) -> tuple[str, str] | None:
        campaign = self._random.pick(self._campaigns)
        prefix = campaign[: -1 - self._random.below(2)]
        if any(
            campaign.startswith(prefix)
            for campaign in (*self._written.updated, *self._written.created)
        ):
            return None
        return _campaign_range(prefix)

    def _private_donation_key(self) -> tuple[str] | None:
        return (self._private_keys.popleft(),) if self._private_keys else None

    def _delete_notes(self) -> tuple[str, ...] | None:
        return (self._notes.popleft(), "never-written") if self._notes else None

    def _unchanged_campaign(self) -> str:
        """Return a campaign that no earlier transaction of the block changes."""
        campaign = self._random.pick(self._campaigns)
        while campaign in self._written.updated:
            campaign = self._random.pick(self._campaigns)
        return campaign

    def _account(self) -> str:
        account = f"vi-{self._next_account:06d}"
        self._next_account = (self._next_account + 1) % self._accounts
        return account

    def _person(self) -> str:
        return f"{self._random.pick(_FAMILY_NAMES)} {self._random.pick(_GIVEN_NAMES)}"

    def _amount(self) -> str:
        return str((self._random.below(2_000) + 1) * 1_000)

    def _random_id(self) -> str:
        return self._random.take(6).hex()


def _campaign_range(prefix: str) -> tuple[str, str]:
    """Return the range of keys of all campaigns whose id begins with `prefix`."""
    return f"campaign:{prefix}", f"campaign:{prefix}~"
