"""Requests with wrong values in their paths: each is answered with a 4xx and a hint."""

import asyncio

from explorer_api.docs.route_docs import path_variables
from explorer_api.routes import ROUTES
from tests.explorer_api.examples import path, request_checked
from tests.explorer_api.support import Api

SEGMENTS = [
    *(
        "%00",
        "%FF",
        "%ED%A0%80",
        "%C0%AF",
        ".",
        "..",
        "%2E%2E",
        "%2F",
        "a%2Fb",
        "%25",
        "%20",
        "%0D%0AX:%20y",
    ),
    *(
        "$where",
        "%7B%22$gt%22:%22%22%7D",
        "null",
        "-1",
        "1.5",
        "1e3",
        "+1",
        "00",
        "0x10",
        "%D9%A3",
        "%F0%9F%98%80",
    ),
    *("LATEST", "latest%00", "latest%20", "f" * 64, "9" * 400, str(2**43), str(2**63)),
    *("x" * 5000, "%61" * 21_000, "x" * 65_537),
]
WITHOUT_404 = {"namespace", "key"}
"""A key that was never written has an empty history, so that no name is wrong."""


async def test_every_path_variable_is_checked(whole_api: Api, a_transaction: str) -> None:
    for route in ROUTES:
        for name in path_variables(route):
            urls = [path(route, a_transaction, **{name: segment}) for segment in SEGMENTS]
            responses = await asyncio.gather(
                *(request_checked(whole_api, route, url) for url in urls)
            )
            for segment, response in zip(SEGMENTS, responses, strict=True):
                if response.status == 200:
                    assert name in WITHOUT_404, (route.path, name, segment)
                    assert response.json["items"] == []
                else:
                    assert 400 <= response.status < 500, (route.path, name, segment)
                    assert response.json["hint"]
