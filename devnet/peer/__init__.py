"""A peer that serves recorded or forged chains through Fabric's real Deliver service, well behaved or not."""

from devnet.peer.peer_ledger import Ledger, block_files
from devnet.peer.server import Peer
from devnet.peer.tls import Authority, KeyPair, ServerTls

__all__ = ["Authority", "KeyPair", "Ledger", "Peer", "ServerTls", "block_files"]
