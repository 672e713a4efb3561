"""The dashboard and the alerts use only metrics that the program exposes."""

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
from tests.eventually import eventually
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

NOT_EXPOSED_HERE: Final[Mapping[str, set[str]]] = {
    "kindledger_reconnects_total": {"channel", "reason"},
    "kindledger_postgres_replica_lag_seconds": {"channel", "server"},
    "kindledger_index_builds_left_seconds": {"channel"},
    "kindledger_divergence_height_blocks": {"channel"},
}
"""Metrics that are exposed only after events that do not occur in these tests."""
EXPOSED_LATER: Final = (
    "kindledger_reconciliation_pending_rows",
    "kindledger_api_peer_height",
    "kindledger_scrub_complete_timestamp_seconds",
)
"""Metrics that are exposed a moment after the start."""
PROMETHEUS_LABELS = {"job", "instance"}
"""Labels that Prometheus adds to each metric."""

UNITS = re.compile(
    r"_(blocks|bytes|seconds|transactions|rows|discrepancies|differences|connections|per_second|hash|state"
    r"|available|height|streams|in_progress)$"
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


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each PromQL expression, after the name of its alert or panel."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def metrics_of(expression: str) -> dict[str, set[tuple[str, str, str]]]:
    """Return the metrics of an expression with the matchers (label, operator, value) of each."""
    assert all(
        expression.count(opening) == expression.count(closing)
        for opening, closing in ("()", "[]", "{}")
    )
    plain = re.sub(r"\[[^]]*\]", "", expression)
    plain = re.sub(r"\b(by|on|ignoring|without) *\([^)]*\)", " ", plain)
    metrics: dict[str, set[tuple[str, str, str]]] = {}
    for name, matchers, called in re.findall(
        r"\b([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})?( *\()?", re.sub(r'"[^"]*"(?![^{]*\})', "", plain)
    ):
        if called:
            assert name in FUNCTIONS | KEYWORDS, f"{name} is not a known function"
        elif name not in KEYWORDS:
            metrics.setdefault(name, set()).update(
                re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers)
            )
    return metrics


def grouping(expression: str) -> set[str]:
    """Return the labels by which an expression groups or joins."""
    lists = re.findall(r"\b(?:by|on|ignoring|without) *\(([^)]*)\)", expression)
    return {label.strip() for each in lists for label in each.split(",")}


@pytest.fixture
async def exposed(
    mongo_uri: str, store: LedgerStore, indexer_dsn: str, redis_url: str, tmp_path: Path
) -> list[Metric]:
    """A scrape of `kindledger run` with all its parts, which announces blocks and ends cleanly."""
    client = Client.enrolled(tmp_path / "client")
    async with peer_of(TRUNK) as peer, Redis.from_url(redis_url) as redis, redis.pubsub() as heads:
        await heads.subscribe(f"kindledger:head:{store.database.name}")
        file = configuration(
            tmp_path / "kindledger.toml", mongo_uri, store.database.name, client, peer, poll_s=0.2
        )
        environment = {
            "KINDLEDGER_MONITORING__PORT": "0",
            "KINDLEDGER_API__PORT": "0",
            "KINDLEDGER_VERIFICATION__ENVELOPES": "true",
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
            text = await scrape_once_complete(health, await logged_url(process, "api_started"))
            await eventually(
                lambda: heads.get_message(ignore_subscribe_messages=True, timeout=1),
                lambda message: message is not None and int(message["data"]) >= HEIGHT,
                poll_s=0,
                describe=f"the announcement of height {HEIGHT}",
            )
            stop(process)
            ended = await ending(process)
    assert ended.code == 143, ended.stderr
    return list(text_string_to_metric_families(text))


async def logged_url(process: asyncio.subprocess.Process, event: str) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        if json.loads(line)["event"] == event:
            return str(json.loads(line)["url"])
    pytest.fail(f"the process ended before it logged {event}")


async def scrape_once_complete(health: str, api: str) -> str:
    """Return /metrics once /health is 200 and all metrics are exposed.

    Each attempt requests the API first, so that its metrics have values.
    """
    async with aiohttp.ClientSession() as session:

        async def scrape() -> tuple[int, list[str], str]:
            async with session.get(urljoin(api, "/api/v1/channels")) as response:
                assert response.status == 200
            async with session.get(urljoin(health, "/metrics")) as response:
                text = await response.text()
            async with session.get(health) as response:
                status, body = response.status, await response.json()
            missing = [name for name in EXPOSED_LATER if f"{name}{{" not in text]
            if status == 200 and not missing:
                assert body["channels"][0]["reconciliation"]["state"] == "following"
            return status, missing, text

        _, _, text = await eventually(
            scrape, lambda seen: seen[:2] == (200, []), describe="/health is 200 with all metrics"
        )
        return text


async def test_a_scrape_has_all_used_metrics_with_proper_names(exposed: list[Metric]) -> None:
    assert_well_named(exposed)
    assert_complete(exposed)


def assert_complete(exposed: Iterable[Metric]) -> None:
    """Check that all used metrics and labels are exposed, and that all exposed metrics are used."""
    labels: dict[str, set[str]] = {"up": set(), **NOT_EXPOSED_HERE}
    values: dict[tuple[str, str], set[str]] = {}
    for sample in (sample for family in exposed for sample in family.samples):
        labels.setdefault(sample.name, set()).update(sample.labels)
        for label, value in sample.labels.items():
            values.setdefault((sample.name, label), set()).add(value)
    empty = {family.name for family in exposed if not family.samples}
    assert empty == {name.removesuffix("_total") for name in NOT_EXPOSED_HERE}

    for source, expression in expressions():
        metrics = metrics_of(expression)
        assert metrics, source
        expression_labels = set(PROMETHEUS_LABELS)
        for name, matchers in metrics.items():
            assert name in labels, f"{source}: {name} is not exposed"
            expression_labels |= labels[name]
            for label, operator, value in matchers:
                assert label in labels[name] | PROMETHEUS_LABELS, (
                    f"{source}: {name} has no label {label}"
                )
                if operator == "=" and (name, label) in values:
                    assert value in values[name, label], (
                        f"{source}: {label} of {name} is never {value}"
                    )
        assert grouping(expression) <= expression_labels, source

    own_metrics = {
        name
        for name in labels
        if re.match(r"kindledger_(?!api_)", name) and not re.search("_(sum|count)$", name)
    }
    used = {name for _, expression in expressions() for name in metrics_of(expression)}
    assert own_metrics - used == set(), "an exposed metric is in no alert and no panel"


def assert_well_named(exposed: Sequence[Metric]) -> None:
    """Check the rules of https://prometheus.io/docs/practices/naming/."""
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
                assert UNITS.search(family.name), f"{family.name} has no unit in its name"
        else:
            assert family.name.startswith(("process_", "python_")), family.name
    states = [s for f in exposed if f.name == "kindledger_channel_state" for s in f.samples]
    assert {sample.labels["state"] for sample in states} == set(ChannelState)
    assert {sample.labels["channel"] for sample in states} == {CHANNEL}


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
    assert re.fullmatch(r"[A-Z].{20,}\.", annotations["action"]), "a sentence that says what to do"
    labels = PROMETHEUS_LABELS | grouping(alert["expr"]) if "sum by" in alert["expr"] else None
    for text in annotations.values():
        assert (
            text.count("{{")
            == text.count("}}")
            == len(re.findall(r"\{\{ \$(labels\.\w+|value)( \| \w+)? \}\}", text))
        )
        if labels is not None:
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels


def test_alerts_have_unique_names_and_cover_all_failures() -> None:
    names = [alert["alert"] for alert in ALERTS]
    assert len(set(names)) == len(names)
    required = (
        "Down ChannelFailed NotMoving LagGrowing NoPeer MongodbUnavailable ReconciliationStopped "
        "RowsOverdue DiscrepanciesOpen ReplicaLagging EventLoopLag ApiErrors ApiSlow ApiHeadStale "
        "RedisUnavailable PeersDiffer AgreementDelayed CommitHashesLeftOut CommitHashesUnchecked"
    )
    assert {f"Kindledger{name}" for name in required.split()} <= set(names)


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


def test_panels_are_in_reading_order_and_do_not_overlap() -> None:
    positions = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(position["x"] + position["w"] <= 24 for position in positions)
    assert all(
        (one["y"], one["x"]) < (other["y"], other["x"]) for one, other in pairwise(positions)
    )
    for one, other in combinations(positions, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart or below, (one, other)
