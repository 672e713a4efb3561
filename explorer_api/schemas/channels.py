"""Channels: their heights, configuration and totals."""

from typing import Any

from msgspec import Struct


class ChannelRow(Struct, frozen=True, rename="camel"):
    """A channel in a list. A height is the number of the highest block plus one.

    `peer_height` and `lag_blocks` are null until the daemon has asked a peer. The blocks below
    `agreed_height` were given by the required number of peers, and settle business rows. The
    signatures in the blocks below `verified_height` are verified; it is null if the daemon verifies
    none.
    """

    name: str
    height: int
    agreed_height: int
    verified_height: int | None
    peer_height: int | None
    lag_blocks: int | None
    state: str | None


class ChannelList(Struct, frozen=True):
    """All channels, in the order of their names."""

    items: list[ChannelRow]


class Counts(Struct, frozen=True, rename="camel"):
    """Totals over all blocks of a channel; `valid` counts the VALID transactions."""

    blocks: int
    transactions: int
    valid: int
    events: int


class ChannelDetail(ChannelRow, frozen=True, rename="camel"):
    """A channel with its configuration and totals.

    The organisations and the ordering service are those of the configuration block in force. They
    are null while that block is not stored; a block before the first one of the ledger never is.
    `counts` is null after the start of the service, until the totals are ready.
    """

    start_block: int | None
    head_hash: str | None
    genesis_hash: str | None
    last_config_block: int | None
    organisations: list[Any] | None
    orderer_organisations: list[Any] | None
    orderers: list[Any] | None
    consensus_type: str | None
    counts: Counts | None
