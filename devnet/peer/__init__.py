"""A peer that serves chains through Fabric's Deliver service, also with injected faults."""

from devnet.peer.lies import Lie, lying_ledger
from devnet.peer.peer_ledger import Ledger, block_files
from devnet.peer.server import Peer
from devnet.peer.tls import Authority, KeyPair, ServerTls

__all__ = [
    "Authority",
    "KeyPair",
    "Ledger",
    "Lie",
    "Peer",
    "ServerTls",
    "block_files",
    "lying_ledger",
]
