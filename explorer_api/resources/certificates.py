"""The certificates that signed on a channel: the list, and one certificate."""

import re
from typing import Any, Final

from explorer_api.http.page_cursors import (
    FingerprintCursor,
    query_digest,
    read_fingerprint_cursor,
    write_cursor,
)
from explorer_api.http.parameters import (
    CURSOR,
    LIMIT,
    Parameter,
    choice,
    equality_filter,
    text,
    time,
)
from explorer_api.http.problems import ProblemError, invalid_cursor, invalid_parameter
from explorer_api.http.responses import NO_CACHE, ApiResponse
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.certificates import CertificatePage, certificate, certificate_detail
from explorer_api.schemas.paging import PageInfo
from ledger.documents.format import Document
from ledger.mongodb.certificate_queries import CertificateFilter
from ledger.mongodb.paging import Page, Window
from ledger.trust.acceptance import Acceptance
from ledger.trust.certificate_uses import SignerRole

MSP_ID: Final = equality_filter(text("mspId", "the MSP id of an organisation", 1 << 16))
ROLE: Final = equality_filter(choice("role", *SignerRole))
ACCEPTED: Final = equality_filter(choice("accepted", "true", "false"))
NOT_AFTER_LT: Final = time("notAfter.lt")
ORDER: Final = choice("order", "desc", "asc", default="asc")
FILTERS: Final[tuple[Parameter[Any], ...]] = (MSP_ID, ROLE, ACCEPTED, NOT_AFTER_LT)

_FINGERPRINT: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_ACCEPTANCE: Final = {"true": Acceptance.ACCEPTED, "false": Acceptance.REFUSED}
_CACHE_S: Final = 5.0
"""The inventory follows the verification of blocks, and not the head alone."""


async def list_certificates(call: ChannelCall) -> ApiResponse:
    """Return the certificates that signed transactions or blocks, the first to expire first.

    The daemon finds them when it verifies the signatures of blocks. A signature counts if it is
    right and the channel's configuration accepted the certificate at this block. A certificate that
    signs for the first time while the pages are read can be missing from them.
    """
    query, reader = call.query, call.channel.reader
    order = query.require(ORDER)
    values = [query.get(parameter) for parameter in FILTERS]
    digest = query_digest("certificates", call.channel.name, order, *values)
    window = Window(query.require(LIMIT), order == "desc")
    inventory = await reader.certificate_inventory()
    page = await reader.certificates(_filter(call), window, await _read_last(call, digest))
    body = CertificatePage(
        [certificate(document) for document in page.documents],
        PageInfo(_next_cursor(page, digest), window.limit),
        inventory.height if inventory is not None else None,
    )
    return ApiResponse(body, NO_CACHE, seconds=_CACHE_S)


async def get_certificate(call: ChannelCall) -> ApiResponse:
    """Return a certificate that signed transactions or blocks, also as PEM text."""
    reference = call.path["fingerprint"].decode(errors="replace")
    if not _FINGERPRINT.fullmatch(reference):
        raise invalid_parameter("fingerprint", reference, "64 hexadecimal digits")
    document = await call.channel.reader.certificate(reference.lower())
    if document is None:
        call.require_fresh_head()
        raise await _not_found(call, reference.lower())
    return ApiResponse(certificate_detail(document), NO_CACHE, seconds=_CACHE_S)


def _filter(call: ChannelCall) -> CertificateFilter:
    role, accepted = call.query.get(ROLE), call.query.get(ACCEPTED)
    return CertificateFilter(
        call.query.get(MSP_ID),
        SignerRole(role) if role is not None else None,
        _ACCEPTANCE[accepted] if accepted is not None else None,
        call.query.get(NOT_AFTER_LT),
    )


async def _read_last(call: ChannelCall, digest: str) -> Document | None:
    """Return the certificate after which the page begins, None for the first page."""
    cursor = call.query.get(CURSOR)
    if cursor is None:
        return None
    document = await call.channel.reader.certificate(read_fingerprint_cursor(cursor, digest))
    if document is None:
        raise invalid_cursor("points to no item of this list")
    return document


def _next_cursor(page: Page, digest: str) -> str | None:
    if not page.more or not page.documents:
        return None
    return write_cursor(FingerprintCursor(digest, page.documents[-1]["_id"]))


async def _not_found(call: ChannelCall, fingerprint: str) -> ProblemError:
    inventory = await call.channel.reader.certificate_inventory()
    known = f"below {inventory.height}" if inventory is not None else "so far"
    return ProblemError(
        404,
        "certificate-not-found",
        "Certificate not found",
        f"No certificate {fingerprint} signed in the blocks whose signatures are verified {known}.",
        "The fingerprint is the SHA-256 of the certificate in DER. The daemon verifies signatures "
        "if verification.envelopes is set; see verifiedHeight of the channel.",
    )
