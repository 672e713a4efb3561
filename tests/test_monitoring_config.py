"""Dashboard and alerts against what the program exposes: nothing in them may ask for what is not there."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import aiohttp
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from tests.indexer.network import HEIGHT, TRUNK, Client, peer_of
from tests.indexer.processes import configuration, ending, kindledger, stop
from tests.indexer.support import CHANNEL

CONFIG = Path(__file__).parents[1] / "config"
ALERTS = [
    rule
    for group in yaml.safe_load((CONFIG / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((CONFIG / "grafana" / "kindledger.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

UNSEEN: Final[Mapping[str, set[str]]] = {
    "kindledger_reconnects_total": {"channel", "reason"},
    "kindledger_postgres_replica_lag_seconds": {"channel", "server"},
}
"""What is exposed once there is something to tell, which is not so in these tests."""
LATE: Final = ("kindledger_reconciliation_pending_rows", "kindledger_api_peer_height")
"""What is there a moment after the start."""
ADDED = {"job", "instance"}
"""Labels that Prometheus adds to everything."""

UNITS = re.compile(
    r"_(blocks|bytes|seconds|transactions|rows|discrepancies|connections|per_second|hash|state|available|height|streams|in_progress)$"
)
FUNCTIONS = {
    "absent",
    "changes",
    "deriv",
    "histogram_quantile",
    "increase",
    "max",
    "rate",
    "sum",
    "time",
    "topk",
    "vector",
}
KEYWORDS = {"and", "or", "unless", "by", "on", "ignoring", "without"}


# --- expressions ------------------------------------------------------------------------------------------------------


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression, and where it stands."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def metrics_of(expression: str) -> dict[str, set[tuple[str, str, str]]]:
    """The metrics of an expression, each with the matchers (label, operator, value) of its selectors."""
    assert all(
        expression.count(opening) == expression.count(closing)
        for opening, closing in ("()", "[]", "{}")
    )
    plain = re.sub(r"\[[^]]*\]", "", expression)
    plain = re.sub(r"\b(by|on|ignoring|without) *\([^)]*\)", " ", plain)
    found: dict[str, set[tuple[str, str, str]]] = {}
    for name, matchers, called in re.findall(
        r"\b([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})?( *\()?", re.sub(r'"[^"]*"(?![^{]*\})', "", plain)
    ):
        if called:
            assert name in FUNCTIONS | KEYWORDS, f"{name} is no function that is known here"
        elif name not in KEYWORDS:
            found.setdefault(name, set()).update(
                re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers)
            )
    return found


def grouping(expression: str) -> set[str]:
    """Labels by which an expression groups or joins."""
    lists = re.findall(r"\b(?:by|on|ignoring|without) *\(([^)]*)\)", expression)
    return {label.strip() for each in lists for label in each.split(",")}


# --- what the program exposes -----------------------------------------------------------------------------------------


@pytest.fixture
async def exposed(
    mongo_uri: str, store: LedgerStore, indexer_dsn: str, redis_url: str, tmp_path: Path
) -> list[Metric]:
    """A scrape of the command, with every part of it at work; it announces what it indexed, and stops in order."""
    client = Client.enrolled(tmp_path / "client")
    async with peer_of(TRUNK) as peer, Redis.from_url(redis_url) as redis, redis.pubsub() as heads:
        await heads.subscribe(f"kindledger:head:{store.database.name}")
        file = configuration(
            tmp_path / "kindledger.toml", mongo_uri, store.database.name, client, peer, poll_s=0.2
        )
        environment = {
            "KINDLEDGER_MONITORING__PORT": "0",
            "KINDLEDGER_API__PORT": "0",
            "KINDLEDGER_POSTGRES__DSN": indexer_dsn,
            "KINDLEDGER_POSTGRES__REPLICA_DSNS": json.dumps([indexer_dsn]),
            "KINDLEDGER_REDIS__URL": redis_url,
            "KINDLEDGER_RECONCILE__SWEEP_S": "0.1",
        }
        async with (
            asyncio.timeout(60),
            kindledger("--config", file, "run", "--with-api", **environment) as process,
        ):
            health = await logged_url(process, "monitoring_started")
            text = await scraped_when_swept(health, await logged_url(process, "api_started"))
            told = 0
            while told < HEIGHT:
                message = await heads.get_message(ignore_subscribe_messages=True, timeout=1)
                told = int(message["data"]) if message is not None else told
            stop(process)
            ended = await ending(process)
    assert ended.code == 143, ended.stderr
    return list(text_string_to_metric_families(text))


async def logged_url(process: asyncio.subprocess.Process, event: str) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        if json.loads(line)["event"] == event:
            return str(json.loads(line)["url"])
    pytest.fail("it ended before its time")


async def scraped_when_swept(health: str, api: str) -> str:
    """/metrics, once everything was looked at, and /health says that all is well. The API is asked before."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(urljoin(api, "/api/v1/channels")) as response:
                assert response.status == 200
            async with session.get(urljoin(health, "/metrics")) as response:
                text = await response.text()
            async with session.get(health) as response:
                if response.status == 200 and all(f"{name}{{" in text for name in LATE):
                    assert (await response.json())["channels"][0]["reconciliation"][
                        "state"
                    ] == "following"
                    return text
            await asyncio.sleep(0.05)


async def test_a_scrape_has_what_is_asked_for_under_proper_names(exposed: list[Metric]) -> None:
    assert_well_named(exposed)
    assert_complete(exposed)


def assert_complete(exposed: Iterable[Metric]) -> None:
    """Whatever an expression names is exposed with these labels; and what is exposed is named somewhere."""
    labels: dict[str, set[str]] = {"up": set(), **UNSEEN}
    values: dict[tuple[str, str], set[str]] = {}
    for sample in (sample for family in exposed for sample in family.samples):
        labels.setdefault(sample.name, set()).update(sample.labels)
        for label, value in sample.labels.items():
            values.setdefault((sample.name, label), set()).add(value)
    empty = {family.name for family in exposed if not family.samples}
    assert empty == {name.removesuffix("_total") for name in UNSEEN}

    for place, expression in expressions():
        metrics = metrics_of(expression)
        assert metrics, place
        known = set(ADDED)
        for name, matchers in metrics.items():
            assert name in labels, f"{place}: there is no {name}"
            known |= labels[name]
            for label, operator, value in matchers:
                assert label in labels[name] | ADDED, f"{place}: {name} has no label {label}"
                if operator == "=" and (name, label) in values:
                    assert value in values[name, label], (
                        f"{place}: {label} of {name} is never {value}"
                    )
        assert grouping(expression) <= known, place

    ours = {
        name
        for name in labels
        if re.match(r"kindledger_(?!api_)", name) and not re.search("_(sum|count)$", name)
    }
    shown = {name for _, expression in expressions() for name in metrics_of(expression)}
    assert ours - shown == set(), "what nobody looks at need not be counted"


def assert_well_named(exposed: Sequence[Metric]) -> None:
    """As https://prometheus.io/docs/practices/naming/ has it."""
    assert len({family.name for family in exposed}) == len(exposed)
    for family in exposed:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket")), family.name
        assert family.documentation, family.name
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total"), sample.name
            assert all(re.fullmatch(r"[a-z][a-z_]*", label) for label in sample.labels), (
                sample.labels
            )
        if family.name.startswith("kindledger_"):
            assert family.documentation.endswith("."), family.name
            if family.type != "counter" and family.name != "kindledger_build_info":
                assert UNITS.search(family.name), f"{family.name}: which unit?"
        else:
            assert family.name.startswith(("process_", "python_")), family.name
    states = [s for f in exposed if f.name == "kindledger_channel_state" for s in f.samples]
    assert {sample.labels["state"] for sample in states} == set(ChannelState)
    assert {sample.labels["channel"] for sample in states} == {CHANNEL}


# --- the files themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    assert alert.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Kindledger([A-Z][a-z0-9]+)+", alert["alert"])
    assert re.fullmatch(r"\d+[smh]", alert.get("for", "0s"))
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    annotations = alert["annotations"]
    assert annotations.keys() == {"summary", "description", "action"}
    assert annotations["description"].endswith(".")
    assert re.fullmatch(r"[A-Z].{20,}\.", annotations["action"]), "a sentence on what to do"
    known = ADDED | grouping(alert["expr"]) if "sum by" in alert["expr"] else None
    for text in annotations.values():
        assert (
            text.count("{{")
            == text.count("}}")
            == len(re.findall(r"\{\{ \$(labels\.\w+|value)( \| \w+)? \}\}", text))
        )
        if known is not None:
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= known


def test_alerts_are_named_once_and_cover_what_can_go_wrong() -> None:
    found = [alert["alert"] for alert in ALERTS]
    assert len(set(found)) == len(found)
    wanted = "Down ChannelFailed NotMoving LagGrowing NoPeer MongodbAway ReconciliationStopped RowsOverdue DiscrepanciesOpen"
    wanted += " ReplicaLagging EventLoopLag ApiErrors ApiSlow ApiHeadStale RedisAway"
    assert {f"Kindledger{name}" for name in wanted.split()} <= set(found)


def test_the_sample_for_prometheus_fits_the_alerts() -> None:
    sample = yaml.safe_load((CONFIG / "prometheus" / "prometheus.example.yml").read_text())
    assert [(CONFIG / "prometheus" / name).exists() for name in sample["rule_files"]] == [True]
    jobs = [job["job_name"] for job in sample["scrape_configs"]]
    patterns = {
        value
        for _, expression in expressions()
        for matchers in metrics_of(expression).values()
        for label, _, value in matchers
        if label == "job"
    }
    assert all(re.fullmatch(pattern, job) for pattern in patterns for job in jobs)


def test_the_dashboard_can_be_imported() -> None:
    panels = DASHBOARD["panels"]
    assert (DASHBOARD["id"], DASHBOARD["schemaVersion"] >= 39, bool(DASHBOARD["uid"])) == (
        None,
        True,
        True,
    )
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {variable["name"]: variable["type"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "channel": "query"}
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert len(rows) == 5
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        used = {
            name for target in panel["targets"] for name in re.findall(r"\$(\w+)", target["expr"])
        }
        assert used <= {"channel", "__rate_interval"}


def test_panels_stand_in_reading_order_and_beside_each_other() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert all((one["y"], one["x"]) < (other["y"], other["x"]) for one, other in pairwise(places))
    for one, other in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart or below, (one, other)
