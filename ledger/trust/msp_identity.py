"""An identity as its MSP knows it."""

from dataclasses import dataclass, field
from datetime import datetime

from ledger.trust.certificates import Certificate
from ledger.trust.keys import Verify
from ledger.trust.verdicts import Member

Unit = tuple[str, bytes]
"""An organisational unit: its name, and a hash over the authorities above the certificate."""


@dataclass(slots=True, eq=False)
class MspIdentity:
    """A certificate of an MSP; `refusal` says why it is not a valid member, or is None.

    `member` has the certificate as it was given, and `certificate` the form with a low S.
    `satisfied` remembers which principals it satisfies.
    """

    member: Member
    certificate: Certificate
    verify: Verify
    units: tuple[Unit, ...]
    refusal: str | None
    satisfied: dict[tuple[int, bytes], bool] = field(default_factory=dict)

    @property
    def msp_id(self) -> str:
        """The id of its MSP."""
        return self.member.msp_id

    @property
    def key(self) -> tuple[str, bytes]:
        """The value by which Fabric counts an identity once, whatever its PEM text looks like."""
        return self.msp_id, self.certificate.der

    def is_outside_validity(self, at: datetime) -> bool:
        """Return whether the certificate is not yet, or no longer, valid at a time with a zone."""
        return not self.certificate.not_before <= at <= self.certificate.not_after
