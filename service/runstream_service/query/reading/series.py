"""Finds the series of a query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runstream_service.core.names import parse_run_id
from runstream_service.errors.core import InvalidField, RunNotFound

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.query.reading.read_transaction import ReadTransaction

MAX_KEYS = 1_000
MIN_STEP, MAX_STEP = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Series:
    """The name of one series. `run_id` has 32 hex digits."""

    run_id: str
    key: str
    rank: int
    attempt: int


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """A series with its id in the database."""

    series_id: int
    series: Series


def runs_of(stored: Iterable[StoredSeries]) -> set[UUID]:
    """The distinct runs of some series."""
    return {UUID(run_id) for run_id in {one.series.run_id for one in stored}}


def ranks_of(stored: Iterable[StoredSeries]) -> set[int]:
    """The distinct ranks of some series."""
    return {one.series.rank for one in stored}


async def series_of_run(
    transaction: ReadTransaction,
    caller: Caller,
    run_id: str,
    keys: Sequence[str],
    *,
    rank: int | None = None,
    attempt: int | None = None,
) -> list[StoredSeries]:
    """The series of a run, in the order (key, rank, attempt). No keys mean all keys. Series that are being purged are
    left out.

    Raises:
        InvalidField: the run id or a key is malformed.
        RunNotFound.
    """
    uid = parse_run_id(run_id, field="run_id")
    check_keys(keys)
    rows = await transaction.fetch("series_of_run", caller.workspace_id, uid, list(keys) or None, rank, attempt)
    if not rows:
        await check_runs(transaction, caller, [uid], field="run_id")
    return [StoredSeries(row[0], Series(uid.hex, row[1], row[2], row[3])) for row in rows]


async def series_of_runs(
    transaction: ReadTransaction,
    caller: Caller,
    run_ids: Sequence[UUID],
    keys: Sequence[str],
    *,
    rank: int | None = None,
    attempt: int | None = None,
    limit: int | None = None,
    by_key: bool = False,
) -> list[StoredSeries]:
    """The series of several runs, in the order of the runs, or with `by_key` of the keys; at most `limit`. Runs that do
    not exist have none."""
    statement = "series_of_runs_by_key" if by_key else "series_of_runs"
    rows = await transaction.fetch(statement, caller.workspace_id, run_ids, list(keys) or None, rank, attempt, limit)
    return [StoredSeries(row[0], Series(row[1].hex, row[2], row[3], row[4])) for row in rows]


async def count_curves(
    transaction: ReadTransaction,
    caller: Caller,
    run_ids: Sequence[UUID],
    keys: Sequence[str],
    *,
    rank: int | None = None,
    attempt: int | None = None,
) -> int:
    """How many curves several runs have. All series of one run, key and rank are one curve."""
    rows = await transaction.fetch(
        "count_curves_of_runs", caller.workspace_id, run_ids, list(keys) or None, rank, attempt
    )
    return int(rows[0][0])


async def check_runs(transaction: ReadTransaction, caller: Caller, run_ids: Sequence[UUID], *, field: str) -> None:
    """Raises RunNotFound if any of these runs does not exist."""
    found = {row["run_id"] for row in await transaction.fetch("runs_found", caller.workspace_id, run_ids)}
    for run_id in run_ids:
        if run_id not in found:
            raise RunNotFound(f"no run with id {run_id.hex}", field=field, subject=run_id.hex)


def check_keys(keys: Sequence[str], *, field: str = "keys") -> None:
    """Raises InvalidField for more than MAX_KEYS keys, or for a key that no series can have."""
    if len(keys) > MAX_KEYS:
        raise InvalidField(f"{field}: has {len(keys):,} keys; at most {MAX_KEYS:,} are allowed", field=field)
    if any("\0" in key for key in keys):
        raise InvalidField(f"{field}: a key has a NUL character", field=field)
