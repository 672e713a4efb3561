"""The peers that the doctor checks in the tests."""

import time
from collections.abc import Callable
from typing import Any

from devnet.peer import Ledger, Peer, ServerTls
from devnet.peer.channel_config import organisations
from tests.cli.support import (
    CHANNEL,
    SERVER,
    TLS_AUTHORITY,
    forged_blocks,
)

HEIGHT = 3
MUTUAL_TLS = ServerTls(SERVER, TLS_AUTHORITY.certificate)
PEER_STEPS = ("dns", "tcp", "tls")
CHANNEL_STEPS = ("request", "channel", "access", "height")


def peer_of(
    tls: ServerTls | None = MUTUAL_TLS, clock: Callable[[], float] = time.time, **more: Any
) -> Peer:
    """Return a peer of the forged channel that checks the identity of its clients."""
    blocks = forged_blocks(HEIGHT)
    return Peer(
        {CHANNEL: Ledger(blocks)},
        tls=tls,
        organisations=organisations(blocks[0]),
        clock=clock,
        **more,
    )
