"""Finds the chain of a certificate to the roots of an MSP, as Go's X.509 library finds it."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from ledger.trust.certificates import Certificate
from ledger.trust.limits import MAX_CHAIN_SIGNATURES
from ledger.trust.verdicts import RefusedError, UncheckedError

Chain = tuple[Certificate, ...]
"""The certificate itself, then each issuer, up to a root."""


class Authorities:
    """The root and intermediate certificates of an MSP."""

    def __init__(self, roots: Iterable[Certificate], intermediates: Iterable[Certificate]) -> None:
        self.roots = {certificate.der: certificate for certificate in roots}
        self.intermediates = {certificate.der: certificate for certificate in intermediates}
        self._roots = _by_subject(self.roots)
        self._intermediates = _by_subject(self.intermediates)

    def chain(self, certificate: Certificate) -> Chain:
        """Return the only chain of a certificate.

        Fabric verifies chains at one second after the certificate's own begin of validity,
        whatever the time of the block is (`getValidityOptsForCert` in `msp/mspimplvalidate.go`).
        So an authority must be valid when it issues; that a certificate has expired since then
        makes no transaction and no block invalid.

        Raises `RefusedError` when there is no chain or more than one, and `UncheckedError` when an
        authority constrains names.
        """
        search = _Search(self._roots, self._intermediates, certificate)
        found: list[Chain] = []
        if search.is_usable(certificate, ()):
            found = [(certificate,)] if certificate.der in self.roots else search.chains()
        chains = [chain for chain in found if all(link.may_serve for link in chain)]
        if not chains:
            raise RefusedError("no valid chain leads from the certificate to a root of its MSP")
        if len(chains) > 1:
            raise RefusedError(
                f"{len(chains)} chains lead from the certificate to roots of its MSP"
            )
        if any(link.constrains_names for link in chains[0]):
            raise UncheckedError("an authority constrains names, which is not checked here")
        return chains[0]


def _by_subject(certificates: dict[bytes, Certificate]) -> dict[bytes, list[Certificate]]:
    found: dict[bytes, list[Certificate]] = defaultdict(list)
    for certificate in certificates.values():
        found[certificate.subject].append(certificate)
    return found


class _Search:
    """The search for all chains of one certificate, with a limit on verified signatures."""

    def __init__(
        self,
        roots: dict[bytes, list[Certificate]],
        intermediates: dict[bytes, list[Certificate]],
        certificate: Certificate,
    ) -> None:
        self._roots, self._intermediates, self._certificate = roots, intermediates, certificate
        self._time = _time_of(certificate)
        self._signatures = 0

    def chains(self) -> list[Chain]:
        return self._extended((self._certificate,))

    def is_usable(self, certificate: Certificate, below: Chain) -> bool:
        """Return whether a certificate may stand above the certificates `below` in a chain."""
        if not certificate.is_understood:
            return False
        if not certificate.not_before <= self._time <= certificate.not_after:
            return False
        limit = certificate.path_length
        return limit is None or len(below) - 1 <= limit

    def _extended(self, below: Chain) -> list[Chain]:
        issuer = below[-1].issuer
        roots = self._roots.get(issuer, ())
        found: list[Chain] = [(*below, root) for root in roots if self._continues(below, root)]
        for intermediate in self._intermediates.get(issuer, ()):
            if intermediate.is_ca and self._continues(below, intermediate):
                found += self._extended((*below, intermediate))
        return found

    def _continues(self, below: Chain, certificate: Certificate) -> bool:
        if any(certificate.der == link.der for link in below):
            return False
        if not self.is_usable(certificate, below):
            return False
        self._signatures += 1
        if self._signatures > MAX_CHAIN_SIGNATURES:
            raise RefusedError(f"the chain needs more than {MAX_CHAIN_SIGNATURES} signature checks")
        return below[-1].is_issued_by(certificate)


def _time_of(certificate: Certificate) -> datetime:
    try:
        return certificate.not_before + timedelta(seconds=1)
    except OverflowError:  # valid from the last second of the year 9999
        return certificate.not_before
