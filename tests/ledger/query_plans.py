"""Records the queries that a client sends to MongoDB, and MongoDB's plans for them."""

from collections.abc import Iterator, Mapping
from typing import Any

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.monitoring import CommandListener, CommandStartedEvent

_NOT_PART_OF_THE_QUERY = {
    *("lsid", "$clusterTime", "$db", "maxTimeMS", "$readPreference", "readConcern", "txnNumber")
}
_READS = ("find", "aggregate", "getMore", "count", "distinct")


class QueryRecorder(CommandListener):
    """Records every query that a client sends."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in _READS:
            self.sent.append(dict(event.command))

    def succeeded(self, event: object) -> None:
        pass

    def failed(self, event: object) -> None:
        pass

    def take(self) -> list[dict[str, Any]]:
        """Return the queries that were sent since the last call."""
        sent, self.sent = self.sent, []
        return sent


class QueryPlan:
    """MongoDB's plan for a query: its stages and indexes, and the keys and documents it reads."""

    def __init__(self, explanation: Mapping[str, Any]) -> None:
        parts = list(_dictionaries(explanation))
        self.stages = {part["stage"] for part in parts if "stage" in part}
        self.indexes = {part["indexName"] for part in parts if "indexName" in part}
        statistics = [part["executionStats"] for part in parts if "executionStats" in part]
        self.keys = sum(part["totalKeysExamined"] for part in statistics)
        self.documents = sum(part["totalDocsExamined"] for part in statistics)
        winning = [plan for part in parts if (plan := part.get("winningPlan")) is not None]
        self.scans = sum(
            part.get("stage") == "IXSCAN" for plan in winning for part in _dictionaries(plan)
        )


async def explain_query(database: AsyncDatabase[Any], command: Mapping[str, Any]) -> QueryPlan:
    """Return the plan for a query that was sent as this command."""
    query = {name: value for name, value in command.items() if name not in _NOT_PART_OF_THE_QUERY}
    return QueryPlan(await database.command("explain", query, verbosity="executionStats"))


def _dictionaries(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for name, part in value.items():
            if name not in ("rejectedPlans", "allPlansExecution"):
                yield from _dictionaries(part)
    elif isinstance(value, list):
        for part in value:
            yield from _dictionaries(part)
