"""The members of a forged network: application organisations and an ordering organisation."""

from functools import cached_property
from typing import NamedTuple

from devnet.forge.identities import CertificateAuthority, PlaceholderSigner, Signer


class Endpoint(NamedTuple):
    """The address of a node, as the channel configuration names it."""

    host: str
    port: int


class Organisation:
    """An application organisation: two authorities, a peer, an administrator and two clients."""

    def __init__(self, seed: int, number: int, *, signer: type[Signer]) -> None:
        self.mspid = f"Org{number}MSP"
        self.domain = f"org{number}.example.com"
        self.authority = CertificateAuthority(seed, self.domain, name="ca")
        self.tls_authority = CertificateAuthority(seed, self.domain, name="tlsca")
        self.endpoint = Endpoint(f"peer0.{self.domain}", 5051 + 2000 * number)
        self.peer = self.authority.enroll(self.mspid, self.endpoint.host, "peer", signer=signer)
        self.admin = self.authority.enroll(
            self.mspid, f"Admin@{self.domain}", "admin", signer=signer
        )
        self.clients = tuple(
            self.authority.enroll(self.mspid, f"User{user}@{self.domain}", "client", signer=signer)
            for user in (1, 2)
        )


class OrderingOrganisation:
    """The organisation that runs the single Raft orderer."""

    mspid = "OrdererMSP"
    domain = "example.com"
    endpoint = Endpoint("orderer.example.com", 7050)

    def __init__(self, seed: int) -> None:
        self.authority = CertificateAuthority(seed, self.domain, name="ca")
        self.tls_authority = CertificateAuthority(seed, self.domain, name="tlsca")
        self.orderer = self.authority.enroll(self.mspid, self.endpoint.host, "orderer")
        self.admin = self.authority.enroll(self.mspid, f"Admin@{self.domain}", "admin")
        self.orderer_tls_certificate = self.tls_authority.issue_server(self.endpoint.host)


class Network:
    """All members that sign on one channel.

    `seed` determines every key. `organisations` is the number of application organisations from the
    genesis block on. With `signed=False` the signatures of clients and endorsers are placeholders,
    which makes forging several times faster. The orderer's signatures are always real.
    """

    def __init__(
        self, seed: int, channel: str = "kindledger", organisations: int = 2, *, signed: bool = True
    ) -> None:
        self.seed = seed
        self.channel = channel
        self._signer = Signer if signed else PlaceholderSigner
        self.organisations = tuple(
            self._organisation(number) for number in range(1, organisations + 1)
        )
        self.ordering = OrderingOrganisation(seed)

    @cached_property
    def newcomer(self) -> Organisation:
        """An organisation that joins the channel later, by a configuration update."""
        return self._organisation(len(self.organisations) + 1)

    @property
    def client(self) -> Signer:
        """A client of the first organisation, which may read the channel."""
        return self.organisations[0].clients[0]

    @cached_property
    def clients(self) -> tuple[Signer, ...]:
        """The clients of all organisations."""
        return tuple(
            client for organisation in self.organisations for client in organisation.clients
        )

    @cached_property
    def endorsers(self) -> tuple[Signer, ...]:
        """The endorsing peers: one of each organisation of the smallest majority."""
        majority = len(self.organisations) // 2 + 1
        return tuple(organisation.peer for organisation in self.organisations[:majority])

    def _organisation(self, number: int) -> Organisation:
        return Organisation(self.seed, number, signer=self._signer)
