"""An MSP of the channel configuration: which identities belong to an organisation.

The rules are those of `msp/mspimpl*.go` in Fabric. The version of an MSP follows from the
capabilities of the channel, and decides which rules apply.
"""

from enum import IntEnum
from functools import lru_cache
from hashlib import new as new_hash

from cryptography.hazmat.primitives.asymmetric import ed25519
from google.protobuf.message import DecodeError

from ledger.trust.certificates import Certificate, read_certificate
from ledger.trust.chains import Authorities, Chain
from ledger.trust.keys import verification
from ledger.trust.limits import (
    MAX_CACHED_IDENTITIES,
    MAX_CACHED_IDENTITY_BYTES,
    MAX_MSP_CERTIFICATES,
)
from ledger.trust.msp_identity import MspIdentity, Unit
from ledger.trust.node_units import NodeUnits
from ledger.trust.revocation import RevocationList, check_revocation, read_revocation_list
from ledger.trust.verdicts import Member, RefusedError, UncheckedError
from protos.msp_pb2 import FabricMSPConfig, FabricOUIdentifier

_IDENTIFIER_HASHES = {
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA3_256": "sha3_256",
    "SHA3_384": "sha3_384",
}


class MspVersion(IntEnum):
    """The rules of an MSP, by the Fabric release that introduced them."""

    V1_0 = 0
    V1_1 = 1
    V1_3 = 3
    V1_4_3 = 4
    V3_0 = 5


def certificate_count(config: FabricMSPConfig) -> int:
    """Return the number of certificates and revocation lists in the definition of an MSP."""
    return (
        len(config.root_certs)
        + len(config.intermediate_certs)
        + len(config.admins)
        + len(config.revocation_list)
        + len(config.organizational_unit_identifiers)
    )


class Msp:
    """An MSP that is set up; it recognises the identities of its organisation.

    Raises `RefusedError` or `UncheckedError` when its definition cannot be used: Fabric would
    refuse the whole configuration.
    """

    def __init__(self, config: FabricMSPConfig, version: MspVersion) -> None:
        if certificate_count(config) > MAX_MSP_CERTIFICATES:
            raise UncheckedError(f"the MSP has more than {MAX_MSP_CERTIFICATES} certificates")
        if not config.root_certs:
            raise RefusedError("the MSP has no root certificate")
        self.name = config.name
        self.version = version
        self._hash_family = config.crypto_config.signature_hash_family or "SHA2"
        hash_name = config.crypto_config.identity_identifier_hash_function or "SHA256"
        if self._hash_family not in ("SHA2", "SHA3") or hash_name not in _IDENTIFIER_HASHES:
            raise RefusedError(
                f"the MSP names an unknown hash: {self._hash_family!r}, {hash_name!r}"
            )
        self._hash_name = _IDENTIFIER_HASHES[hash_name]
        self._revocations: tuple[RevocationList, ...] = ()
        self._authorities = _authorities(config)
        self._revocations = tuple(read_revocation_list(data) for data in config.revocation_list)
        self._inner = self._check_authorities()
        self._units = frozenset(self._unit(unit) for unit in config.organizational_unit_identifiers)
        self.node_units = NodeUnits.from_config(config, self._unit, exact=version >= 4)
        self.admins: frozenset[bytes] = frozenset()
        self._identity = lru_cache(MAX_CACHED_IDENTITIES)(self._read_identity)
        self.admins = self._admins(config)

    def identity(self, pem: bytes) -> MspIdentity:
        """Return the identity in the PEM text of a certificate.

        Whether it is valid is in the identity. Raises `RefusedError` when there is no certificate,
        or when its issuer is unknown, and `UncheckedError` when it is too long.
        """
        found = (
            self._identity(pem)
            if len(pem) <= MAX_CACHED_IDENTITY_BYTES
            else self._read_identity(pem)
        )
        if isinstance(found, Exception):
            raise type(found)(*found.args)  # not the remembered error: it would collect tracebacks
        return found

    def _read_identity(self, pem: bytes) -> MspIdentity | RefusedError | UncheckedError:
        try:
            given = read_certificate(pem)
            certificate = self._low_s(given)
            refusal = self._refusal(certificate)
        except (RefusedError, UncheckedError) as error:
            return type(error)(*error.args)
        verify = verification(certificate.public_key, self._hash_family)
        if verify is None:
            return RefusedError("the certificate's key is not one with which Fabric's members sign")
        units = self._units_of(certificate)
        if refusal is None:
            refusal = self._unit_refusal(units)
        roles = self.node_units.roles(units)
        member = Member(self.name, given.der, roles.pop() if len(roles) == 1 else None)
        return MspIdentity(member, certificate, verify, units, refusal)

    def _low_s(self, certificate: Certificate) -> Certificate:
        """Return the certificate with a low S; raise `RefusedError` if its issuer is unknown.

        Fabric finds the issuer only of certificates that are signed with ECDSA, and checks the
        others later: neither is an identity, so the difference is in the reason alone.
        """
        if not certificate.is_signed_with_ecdsa:
            return certificate
        chain = self._authorities.chain(certificate)
        return certificate.with_low_s(chain[1] if len(chain) > 1 else certificate)

    def _refusal(self, certificate: Certificate) -> str | None:
        """Return why Fabric's `validateIdentity` refuses a certificate, apart from its units."""
        try:
            if certificate.is_ca:
                raise RefusedError("a certificate of an authority is not an identity")
            if self.version < MspVersion.V3_0 and _is_ed25519(certificate):
                raise RefusedError("the channel's capabilities do not allow Ed25519")
            check_revocation(self._member_chain(certificate), self._revocations)
        except RefusedError as error:
            return str(error)
        return None

    def _member_chain(self, certificate: Certificate) -> Chain:
        chain = self._authorities.chain(certificate)
        if len(chain) < 2:
            raise RefusedError("a root certificate is not an identity")
        if chain[1].der in self._inner:
            raise RefusedError("an authority above other authorities does not issue identities")
        return chain

    def _units_of(self, certificate: Certificate) -> tuple[Unit, ...]:
        """Return the organisational units of a certificate, as `GetOrganizationalUnits` does."""
        if certificate.is_ca or not certificate.units:
            return ()
        try:
            chain = self._member_chain(certificate)
        except RefusedError:
            return ()
        path = self._path_identifier(chain[1:])
        return tuple((unit, path) for unit in certificate.units)

    def _unit_refusal(self, units: tuple[Unit, ...]) -> str | None:
        if self._units and self._units.isdisjoint(units):
            return "none of the certificate's organisational units is one of its MSP"
        return self.node_units.refusal(units) if self.version >= MspVersion.V1_1 else None

    def _path_identifier(self, chain: Chain) -> bytes:
        digest = new_hash(self._hash_name)
        for certificate in chain:
            digest.update(certificate.der)
        return digest.digest()

    def _unit(self, unit: FabricOUIdentifier) -> Unit:
        """Return the unit that a definition names, with the path of the authority it names."""
        certificate = self._low_s(read_certificate(unit.certificate))
        if certificate.der in self._authorities.roots:
            chain: Chain = (certificate,)
        elif certificate.der in self._authorities.intermediates:
            chain = self._authorities.chain(certificate)
            if certificate.der in self._inner:
                raise RefusedError(
                    "an organisational unit names an authority above other authorities"
                )
        else:
            raise RefusedError("an organisational unit names a certificate that is not in its MSP")
        return unit.organizational_unit_identifier, self._path_identifier(chain)

    def _check_authorities(self) -> frozenset[bytes]:
        """Check roots and intermediates; return the authorities that are above other ones."""
        inner: set[bytes] = set()
        for certificate in (
            *self._authorities.roots.values(),
            *self._authorities.intermediates.values(),
        ):
            if not certificate.is_ca:
                raise RefusedError("a root or intermediate certificate of the MSP is no authority")
            if certificate.key_identifier is None:
                raise RefusedError("an authority of the MSP has no key identifier")
            chain = self._authorities.chain(certificate)
            if len(chain) > 1:
                check_revocation(chain, self._revocations)
            if certificate.der in self._authorities.intermediates:
                inner.update(link.der for link in chain[1:])
        return frozenset(inner)

    def _admins(self, config: FabricMSPConfig) -> frozenset[bytes]:
        """Return the administrators that the definition lists, after the checks of its version."""
        identities = [self.identity(pem) for pem in config.admins]
        enforced = self.version >= MspVersion.V1_1 and self.node_units.enforced
        for identity in identities:
            must_be_valid = not enforced or self.version < MspVersion.V1_4_3
            if must_be_valid and identity.refusal is not None:
                raise RefusedError(f"an administrator of the MSP is invalid: {identity.refusal}")
            roles = self.node_units.roles(identity.units)
            allowed = {"client", "admin"} if self.version >= MspVersion.V1_4_3 else {"client"}
            if enforced and roles.isdisjoint(allowed):
                raise RefusedError(
                    "an administrator of the MSP is neither client nor administrator"
                )
        if (
            not identities
            and self.version >= MspVersion.V1_4_3
            and not (enforced and self.node_units.names("admin"))
        ):
            raise RefusedError("the MSP has no administrators and no unit for them")
        return frozenset(identity.certificate.der for identity in identities)


def _authorities(config: FabricMSPConfig) -> Authorities:
    """Return the roots and intermediates with a low S, by which Fabric compares them."""
    roots = [read_certificate(pem) for pem in config.root_certs]
    intermediates = [read_certificate(pem) for pem in config.intermediate_certs]
    given = Authorities(roots, intermediates)

    def low_s(certificate: Certificate) -> Certificate:
        if not certificate.is_signed_with_ecdsa:
            return certificate
        chain = given.chain(certificate)
        return certificate.with_low_s(chain[1] if len(chain) > 1 else certificate)

    return Authorities(map(low_s, roots), map(low_s, intermediates))


def _is_ed25519(certificate: Certificate) -> bool:
    return isinstance(certificate.public_key, ed25519.Ed25519PublicKey)


@lru_cache(256)
def set_up_msp(config: bytes, version: MspVersion) -> Msp | str:
    """Return the MSP that a serialized `FabricMSPConfig` defines, or why it cannot be used.

    A later configuration with the same definition gets the same object, and its known identities.
    """
    try:
        return Msp(FabricMSPConfig.FromString(config), version)
    except DecodeError:
        return "its definition cannot be parsed"
    except (RefusedError, UncheckedError) as error:
        return str(error)
