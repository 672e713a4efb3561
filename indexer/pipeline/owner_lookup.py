"""Finds out which transaction ids stored envelopes own, with or without the index of the ids."""

from collections.abc import Mapping

import structlog

from indexer.pipeline.deferred_indexes import DeferredIndexes
from indexer.pipeline.store_retry import StoreRetry
from ledger.mongodb.store import LedgerStore
from ledger.owned_id_table import OwnedIdTable

log = structlog.get_logger()


class OwnerLookup:
    """Finds the owned ids of one channel.

    While the index of transaction ids is missing, a table in memory has the owned ids of all stored
    blocks: the store was empty before the first one. When the table is full, the index is built,
    and used from then on.
    """

    def __init__(
        self,
        store: LedgerStore,
        store_retry: StoreRetry,
        indexes: DeferredIndexes,
        table: OwnedIdTable,
    ) -> None:
        self._store, self._store_retry, self._indexes = store, store_retry, indexes
        self._table: OwnedIdTable | None = table

    async def owned_ids(self, tx_ids: set[str], below: int) -> set[str]:
        """Return those of `tx_ids` that a committed envelope in a block below `below` owns.

        All blocks below `below`, and no others, must have been added or be indexed.
        """
        table = self._needed_table()
        if table is None:
            return await self._store_retry.run(lambda: self._store.owned_ids(tx_ids, below))
        positions = [position for tx_id in tx_ids for position in table.candidates(tx_id)]
        if not positions:
            return set()
        return tx_ids & await self._store_retry.run(lambda: self._store.owned_ids_at(positions))

    async def add(self, number: int, owned_ids: Mapping[str, int]) -> None:
        """Note the ids that the envelopes of a block own, each with the index of its envelope.

        Raises `StoreConflictError` if the table is full, and the index cannot be built.
        """
        table = self._needed_table()
        if table is None:
            return
        if table.has_room(len(owned_ids)):
            table.add(number, owned_ids)
            return
        log.info("owned_ids_full", channel=self._indexes.channel, block=number)
        await self._indexes.build_owner_index()

    def _needed_table(self) -> OwnedIdTable | None:
        """Return the table, or None from the moment on that the index exists."""
        if self._indexes.has_owner_index:
            self._table = None
        return self._table
