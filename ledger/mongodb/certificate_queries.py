"""Queries over the inventory of the certificates that signed on a channel."""

from datetime import datetime
from typing import Final

from bson.datetime_ms import DatetimeMS
from msgspec import Struct

from ledger.documents.format import Document
from ledger.mongodb.certificates import ORDER, Inventory, index_fields, read_inventory
from ledger.mongodb.collections import CERTIFICATES
from ledger.mongodb.paging import ChannelQueries, Page, Window
from ledger.trust.acceptance import Acceptance
from ledger.trust.certificate_uses import SignerRole

_WITHOUT_DER: Final = {"der": 0}


class CertificateFilter(Struct, frozen=True):
    """The conditions that a certificate must meet: all that are given.

    `expires_before`: its validity ends before this time.
    """

    msp_id: str | None = None
    role: SignerRole | None = None
    acceptance: Acceptance | None = None
    expires_before: datetime | DatetimeMS | None = None


class CertificateQueries(ChannelQueries):
    """Finds certificates that signed."""

    async def certificate_inventory(self) -> Inventory | None:
        """Return up to where the inventory is complete, None if there is none."""
        return await read_inventory(self._database)

    async def certificate(self, fingerprint: str) -> Document | None:
        """Return the certificate with this fingerprint in lower-case hex."""
        return await self._database[CERTIFICATES].find_one({"_id": fingerprint})

    async def certificates(
        self, conditions: CertificateFilter, window: Window, after: Document | None = None
    ) -> Page:
        """Return certificates without their DER, what expires first first, after the one `after`.

        In an index, the acceptance comes before the order. Therefore MongoDB scans the index once
        for each acceptance, and merges the ordered results.
        """
        acceptances = list(Acceptance) if conditions.acceptance is None else [conditions.acceptance]
        query: Document = {"acceptance": {"$in": [each.value for each in acceptances]}}
        filtered = []
        for name, value in (("mspId", conditions.msp_id), ("roles", conditions.role)):
            if value is not None:
                query[name] = str(value)
                filtered.append(name)
        if conditions.expires_before is not None:
            query["notAfter"] = {"$lt": conditions.expires_before}
        return await self._page_by(
            CERTIFICATES,
            query,
            ORDER,
            window,
            after=(after["notAfter"], after["_id"]) if after is not None else None,
            projection=_WITHOUT_DER,
            hint=index_fields(filtered),
        )
