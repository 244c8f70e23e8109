"""The keys of metrics, params and tags that runs have: for completion, and for tables that show all metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.query.reading.read_transaction import whole_read

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.reading.read_transaction import ReadPool

# How many of the newest runs are read. Older ones mostly have the same keys, or keys that are not used any more.
_RECENT_RUNS = 200
MAX_KEYS = 1_000


@dataclass(frozen=True, slots=True)
class Keys:
    """At most MAX_KEYS keys of each kind; those that most runs have come first."""

    metrics: list[str]
    params: list[str]
    tags: list[str]


class KeysInUse:
    """Reads the keys that runs have."""

    def __init__(self, read_pool: ReadPool) -> None:
        self._read_pool = read_pool

    @whole_read
    async def of_recent_runs(self, caller: Caller, experiment_id: int | None) -> Keys:
        """The keys of the newest active runs of an experiment, or with None of all experiments.

        Raises:
            DatabaseUnavailable.
        """
        found: dict[str, list[tuple[int, str]]] = {"metric": [], "param": [], "tag": []}
        async with self._read_pool.transaction() as transaction:
            rows = await transaction.fetch(
                "keys_of_recent_runs", caller.workspace_id, experiment_id, _RECENT_RUNS, MAX_KEYS
            )
        for kind, key, runs in rows:
            found[kind].append((-runs, key))
        return Keys(*([key for _, key in sorted(found[kind])] for kind in ("metric", "param", "tag")))

    @whole_read
    async def metrics_of_runs(self, caller: Caller, run_ids: Sequence[UUID], most: int) -> list[str]:
        """The first `most` metric keys of each run, by name; of all runs together at most MAX_KEYS, those that most
        runs have.

        Raises:
            DatabaseUnavailable.
        """
        async with self._read_pool.transaction() as transaction:
            rows = await transaction.fetch("first_keys_of_runs", caller.workspace_id, list(run_ids), most)
        return [key for key, _ in Counter(row[1] for row in rows).most_common(MAX_KEYS)]
