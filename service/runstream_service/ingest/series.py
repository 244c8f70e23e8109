"""Keys -> series ids. Missing series are created, within the bound of series per run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runstream_service.database.pool import is_data_error
from runstream_service.database.queries import load
from runstream_service.ingest.refusals import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from runstream_service.database.pool import PooledConnection

SQL = load("writes")

# To find the keys that PostgreSQL refuses, a group of keys is halved repeatedly. This many statements find some dozens
# among thousands; groups that are left after that are refused as a whole.
_MAX_STATEMENTS = 500


@dataclass(slots=True)
class ResolvedSeries:
    """The series of some keys, and the reasons why other keys have none."""

    ids: dict[str, int] = field(default_factory=dict)
    refused: dict[str, tuple[Reason, str]] = field(default_factory=dict)


async def resolve_series(
    connection: PooledConnection,
    run_id: UUID,
    rank: int,
    attempt: int,
    keys: Sequence[str],
    *,
    max_series_per_run: int,
) -> ResolvedSeries:
    """Find or create the series of some distinct keys of a run, rank and attempt. A key that PostgreSQL refuses as bad
    data, or that is above the bound of the run, is in `refused`; the other keys get their series."""
    resolved = ResolvedSeries()
    groups, statements = [sorted(keys)], 0
    while groups:
        group = groups.pop()
        statements += 1
        try:
            rows = await connection.fetch(SQL["resolve_series"], run_id, rank, attempt, group, max_series_per_run)
        except Exception as error:
            if not is_data_error(error):
                raise
            if len(group) == 1 or statements >= _MAX_STATEMENTS:
                resolved.refused.update((key, (Reason.DATABASE, f"key {key[:80]!r}: {error}")) for key in group)
            else:
                groups += [group[: len(group) // 2], group[len(group) // 2 :]]
            continue
        resolved.ids.update((row["key"], row["series_id"]) for row in rows)
        resolved.refused.update(
            (key, (Reason.TOO_MANY_SERIES, _too_many(key, max_series_per_run)))
            for key in group
            if key not in resolved.ids
        )
    return resolved


def _too_many(key: str, max_series_per_run: int) -> str:
    return (
        f"key {key[:80]!r}: the run has {max_series_per_run:,} series, the most that a run may have "
        "(--max-series-per-run, or series_per_run of its workspace); points of this key are not stored. "
        "Do not put steps or ids into keys"
    )
