"""Requests generated from the OpenAPI document: every response is as the document says."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from explorer_api.docs.route_docs import operation_id, problems
from explorer_api.http.parameters import CURSOR
from explorer_api.routes import ROUTES
from explorer_api.routing.route import AnyRoute, StreamRoute
from tests.explorer_api.examples import ENDING_ROUTES, FINGERPRINT
from tests.explorer_api.support import CHANNEL, Api

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def can_refuse_allowed_requests(route: AnyRoute) -> bool:
    """Return whether the route can refuse requests that its schema allows.

    A schema cannot say to which request a cursor belongs, which filters can be combined, or which
    bytes are kept.
    """
    return CURSOR in route.parameters or any(status in (400, 410) for status in own_problems(route))


def own_problems(route: AnyRoute) -> set[int]:
    return {status for status, kinds in problems(route).items() if set(kinds) & set(route.problems)}


def configuration(tx_id: str) -> str:
    """Return a configuration with ids that exist, and without streams, which do not end."""
    values = {"channel": CHANNEL, "txId": tx_id, "fingerprint": FINGERPRINT}
    lines = [f'"path.{name}" = "{value}"\n' for name, value in values.items()]
    sections = ["[parameters]\n" + "".join(lines)]
    for route in ROUTES:
        if isinstance(route, StreamRoute):
            sections.append(
                f'[[operations]]\ninclude-operation-id = "{operation_id(route)}"\nenabled = false\n'
            )
        elif can_refuse_allowed_requests(route):
            check = "checks.positive_data_acceptance.enabled = false"
            sections.append(
                f'[[operations]]\ninclude-operation-id = "{operation_id(route)}"\n{check}\n'
            )
    return "\n".join(sections)


@pytest.mark.parametrize(
    ("seed", "examples"),
    [
        (1, 2),
        *(
            pytest.param(seed, 100, marks=[pytest.mark.long, pytest.mark.timeout(600)])
            for seed in (2, 3)
        ),
    ],
)
async def test_responses_are_as_documented(
    whole_api: Api, a_transaction: str, tmp_path: Path, seed: int, examples: int
) -> None:
    (tmp_path / "schemathesis.toml").write_text(configuration(a_transaction))
    command = ["run", f"{whole_api.base}/openapi.json", "--phases", "examples,coverage,fuzzing"]
    command += [
        "--seed",
        str(seed),
        "--max-examples",
        str(examples),
        "--no-color",
        "--warnings",
        "off",
    ]
    command += ["--generation-database", "none"]
    process = await asyncio.create_subprocess_exec(
        SCHEMATHESIS,
        *command,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, "\n".join(line[:1000] for line in output.decode().splitlines())

    metrics = (await whole_api.get("/metrics")).body.decode()
    for route in ENDING_ROUTES:
        assert f'route={json.dumps(route.path)},status="200"' in metrics, (
            f"no response had status 200: {route.path}"
        )
    assert 'status="304"' in metrics
