"""What goes on at KindLedger: who does what next, with which arguments.

Within a block an action avoids the keys that an earlier one writes, so that it succeeds, unless asked otherwise.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from devnet.forge.chaincodes import FUNCTIONS, KINDLEDGER, TOKEN, Outcome, Stub
from devnet.forge.envelopes import Chaincode
from devnet.forge.lifecycle import read_sequence
from devnet.forge.random_stream import RandomStream

CAMPAIGNS_AT_FIRST = 10
_CAMPAIGNS_REMEMBERED = 200
_KEYS_REMEMBERED = 100

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
_STORY = "Chiến dịch quyên góp “{}”, ủng hộ {}₫ \0 và \u2028 hết"


class Kind(NamedTuple):
    """A function of a chaincode."""

    chaincode: Chaincode
    function: str


class Action(NamedTuple):
    """An invocation that somebody wants."""

    kind: Kind
    args: tuple[str, ...]

    def execute(self, stub: Stub) -> Outcome:
        """Run the chaincode's function."""
        read_sequence(stub.simulation, self.kind.chaincode.name)
        return FUNCTIONS[self.kind.function](stub, *self.args)


def _mix(weights: Mapping[str, int]) -> tuple[Kind, ...]:
    return tuple(
        Kind(KINDLEDGER, function) for function, weight in weights.items() for _ in range(weight)
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
    Kind(TOKEN, "Mint"),
    Kind(TOKEN, "Transfer"),
)
"""Everything that the chaincodes can do, often or seldom; an element is drawn with equal chance."""

BULK = _mix({"Donate": 2, "Mint": 1, "Transfer": 1})
"""The load of a benchmark."""


@dataclass(slots=True)
class _Busy:
    """What earlier transactions of the same block write."""

    updated: set[str] = field(default_factory=set)
    created: list[str] = field(default_factory=list)
    minted: list[str] = field(default_factory=list)


class Business:
    """Decides what is done next.

    `accounts`: how many token accounts there are; at least twice as many as a block has transactions, because they
    are used in turn and none may come up twice in a block.
    """

    def __init__(self, mix: tuple[Kind, ...], accounts: int) -> None:
        self._mix = mix
        self._accounts = accounts
        self._next_account = 0
        self._campaigns_created = 0
        self._campaigns: deque[str] = deque(maxlen=_CAMPAIGNS_REMEMBERED)
        self._private_keys: deque[str] = deque(maxlen=_KEYS_REMEMBERED)
        self._notes: deque[str] = deque(maxlen=_KEYS_REMEMBERED)
        self._busy = _Busy()
        self._random = RandomStream("")
        self._arguments: dict[str, Callable[[], tuple[str, ...] | None]] = {
            "CreateCampaign": self._create_campaign,
            "UpdateStatus": self._update_status,
            "Donate": lambda: (self._quiet_campaign(), self._person(), self._amount()),
            "DonatePrivate": lambda: (self._quiet_campaign(),),
            "DonatePrivateOrg1": lambda: (self._quiet_campaign(),),
            "DeletePrivate": self._forget_private,
            "PurgePrivate": self._forget_private,
            "Disburse": lambda: (self._quiet_campaign(), self._amount()),
            "Mint": self._mint,
            "Transfer": lambda: (self._account(), self._account(), self._amount()),
            "TokenDonate": lambda: (self._quiet_campaign(), self._account(), self._amount()),
            "RangeCount": self._range_count,
            "Query": lambda: (f"campaign:{self._quiet_campaign()}",),
            "PutNote": lambda: (self._token(), f"Ghi chú của {self._person()}"),
            "DeleteNotes": self._delete_notes,
            "SetKeyPolicy": lambda: (self._token(), "Org1MSP"),
            "TellStory": lambda: (
                self._token(),
                _STORY.format(self._random.pick(_CAUSES), self._amount()),
            ),
            "BinaryEvent": lambda: (self._token(),),
            "EmptyEvent": tuple,
            "NoOp": tuple,
        }

    @property
    def has_begun(self) -> bool:
        """True once there are campaigns to give to; until then only `open_campaign` makes sense."""
        return bool(self._campaigns)

    def begin_block(self, random: RandomStream) -> None:
        """Forget what the former block was busy with; decide by `random` from here on."""
        self._random = random
        self._busy = _Busy()

    def next(self) -> Action:
        """An action that will succeed."""
        kind = self._random.pick(self._mix)
        args = self._arguments[kind.function]()
        return self.donation() if args is None else Action(kind, args)

    def donation(self) -> Action:
        """A donation that will succeed."""
        return Action(
            Kind(KINDLEDGER, "Donate"), (self._quiet_campaign(), self._person(), self._amount())
        )

    def open_campaign(self) -> Action:
        """A new campaign."""
        return Action(Kind(KINDLEDGER, "CreateCampaign"), self._create_campaign())

    def mint(self) -> Action:
        """Tokens for an account that no earlier transaction of the block touches."""
        return Action(Kind(KINDLEDGER, "Mint"), self._mint())

    def update(self) -> Action | None:
        """A change of a campaign's status; None while too many campaigns change already."""
        args = self._update_status()
        return args and Action(Kind(KINDLEDGER, "UpdateStatus"), args)

    def conflicting(self) -> Action | None:
        """An action that reads what an earlier one of the block writes; None if there is no such thing."""
        if not self._busy.minted:
            return None
        account = self._random.pick(self._busy.minted)
        return Action(Kind(KINDLEDGER, "Mint"), (account, self._amount()))

    def phantom(self) -> Action | None:
        """A range query over a campaign that the block creates; None if it creates none."""
        if not self._busy.created:
            return None
        return Action(
            Kind(KINDLEDGER, "RangeCount"), _window(self._random.pick(self._busy.created)[:-1])
        )

    def committed(self, action: Action, tx_id: str) -> None:
        """Take note of an action that turned out valid."""
        match action.kind.function:
            case "CreateCampaign":
                self._campaigns.append(action.args[0])
            case "DonatePrivate":
                self._private_keys.append(f"donor:{action.args[0]}:{tx_id}")
            case "PutNote":
                self._notes.append(action.args[0])

    def _create_campaign(self) -> tuple[str, str, str]:
        self._campaigns_created += 1
        campaign = f"cd-{self._campaigns_created:06d}"
        self._busy.created.append(campaign)
        name = f"{self._random.pick(_CAUSES)} {self._campaigns_created}"
        return campaign, name, str((self._random.below(500) + 1) * 1_000_000)

    def _update_status(self) -> tuple[str, str] | None:
        if (len(self._busy.updated) + 1) * 2 > len(self._campaigns):
            return None
        campaign = self._quiet_campaign()
        self._busy.updated.add(campaign)
        return campaign, self._random.pick(_STATUSES)

    def _mint(self) -> tuple[str, str]:
        account = self._account()
        self._busy.minted.append(account)
        return account, self._amount()

    def _range_count(self) -> tuple[str, str] | None:
        campaign = self._random.pick(self._campaigns)
        prefix = campaign[: -1 - self._random.below(2)]
        if any(busy.startswith(prefix) for busy in (*self._busy.updated, *self._busy.created)):
            return None
        return _window(prefix)

    def _forget_private(self) -> tuple[str] | None:
        return (self._private_keys.popleft(),) if self._private_keys else None

    def _delete_notes(self) -> tuple[str, ...] | None:
        return (self._notes.popleft(), "never-written") if self._notes else None

    def _quiet_campaign(self) -> str:
        """A campaign that no earlier transaction of the block changes."""
        campaign = self._random.pick(self._campaigns)
        while campaign in self._busy.updated:
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

    def _token(self) -> str:
        return self._random.take(6).hex()


def _window(prefix: str) -> tuple[str, str]:
    """The range of all campaigns whose id begins with `prefix`."""
    return f"campaign:{prefix}", f"campaign:{prefix}~"
