"""Reads the latest point of each series: the one that roll-up stored, replaced by a later hot point if there is one."""

from __future__ import annotations

import asyncio
import contextlib
import random
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.core.names import parse_run_id
from runstream_service.database.copy_rows import EPOCH_2000_UNIX_US, RowFormat, Rows, body, int64
from runstream_service.database.metric_values import comparable
from runstream_service.errors.core import InvalidField, Overloaded
from runstream_service.query.reading import hot_windows
from runstream_service.query.reading.read_transaction import SQL, all_ended, compute, whole_read
from runstream_service.query.reading.series import check_keys
from runstream_service.segments.best_values import BestValues
from runstream_service.stores.segment_store import bind

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.reading.hot_windows import HotWindow
    from runstream_service.query.reading.read_transaction import ReadPool, ReadTransaction

MAX_RUNS = 1_000
MAX_SERIES = 1_000_000
# A call with this many series takes about 30 MB. Calls with more run one at a time: each may take 250 MB.
MANY_SERIES = 100_000
_LONGEST_WAIT_S = 60.0
# For many series, COPY and hashes of keys are faster. For few runs and series, one plain statement is, as it saves two
# milliseconds of round trips.
_FEW_RUNS = 4
_FEW_SERIES = 1_000
# From this many runs on, series are read on two connections, half of the runs on each: PostgreSQL takes 2 to 3 ms for
# 1,000 series.
_MANY_RUNS = 100
# How many keys are read, or sorted, at once: the driver and `sorted` take 3 ms for this many, without a pause.
_KEYS_AT_ONCE = 5_000

# The columns of a series, and of the latest point that roll-up stored for it, if any.
STORED_VALUES = (
    ("series_id", ">i8"),
    ("rank", ">i4"),
    ("attempt", ">i4"),
    ("there", "?"),
    ("step", ">i8"),
    ("time", ">i8"),
    ("value", ">f8"),
)
_SERIES = RowFormat(
    [
        ("run", ">i8"),
        ("key_hash", ">i8"),
        ("key_check", ">i8"),
        ("series_id", ">i8"),
        ("rank", ">i4"),
        ("attempt", ">i4"),
    ]
)
# The values of a series for which roll-up has stored no latest point.
_MISSING: dict[str, int | float] = {
    "step": 0, "time": 0, "value": 0.0, "min_value": np.inf, "min_step": 0, "max_value": -np.inf, "max_step": 0
}  # fmt: skip
_VALUES = RowFormat(
    [
        ("series_id", ">i8"),
        *((name, ">f8" if isinstance(missing, float) else ">i8") for name, missing in _MISSING.items()),
    ]
)


@dataclass(frozen=True, slots=True)
class LatestPoints:
    """Row i of each column is the latest point of one series: the one with the greatest (step, time, value), where NaN
    compares as 0. Rows are in the order (run, key, rank, attempt). `run_index` and `key_index` are positions in
    `run_ids` and `keys`. `best`: the best values of these series, if they were read."""

    run_ids: Sequence[str]
    keys: Sequence[str]
    run_index: NDArray[np.int64]
    key_index: NDArray[np.int64]
    rank: NDArray[np.int64]
    attempt: NDArray[np.int64]
    step: NDArray[np.int64]
    time_unix_us: NDArray[np.int64]
    value: NDArray[np.float64]
    best: BestValues | None = None

    def __len__(self) -> int:
        return len(self.step)

    def take(self, wanted: slice | NDArray[np.intp] | NDArray[np.bool_]) -> LatestPoints:
        """The rows at these positions."""
        return replace(
            self,
            run_index=self.run_index[wanted],
            key_index=self.key_index[wanted],
            rank=self.rank[wanted],
            attempt=self.attempt[wanted],
            step=self.step[wanted],
            time_unix_us=self.time_unix_us[wanted],
            value=self.value[wanted],
            best=None if self.best is None else self.best.take(wanted),
        )

    def pieces(self, size: int) -> Iterator[LatestPoints]:
        """Divide the rows into pieces of at most `size`, each with only its own runs and keys."""
        for start in range(0, len(self), size):
            piece = self.take(slice(start, start + size))
            runs, run_index = _renumbered(piece.run_index, len(self.run_ids))
            keys, key_index = _renumbered(piece.key_index, len(self.keys))
            yield replace(
                piece,
                run_ids=[self.run_ids[run] for run in runs.tolist()],
                keys=[self.keys[key] for key in keys.tolist()],
                run_index=run_index,
                key_index=key_index,
            )


def _renumbered(numbers: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct numbers of `numbers`, all below `count`, in order; and for each number its position among them."""
    occurs = np.zeros(count, np.bool_)
    occurs[numbers] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[numbers]


class Latest:
    """Reads the latest points of series."""

    def __init__(self, read_pool: ReadPool) -> None:
        self._read_pool = read_pool
        self._large = asyncio.Lock()

    @whole_read
    async def read(self, caller: Caller, run_ids: Sequence[str], keys: Sequence[str] = ()) -> LatestPoints:
        """The latest points of some runs. No keys mean all keys. Unknown runs are left out.

        Raises:
            InvalidField: a run id or key is malformed, or there are more than MAX_RUNS runs or MAX_SERIES series.
            ReadTooSlow, DatabaseUnavailable, Overloaded: try again.
        """
        if not 1 <= len(run_ids) <= MAX_RUNS:
            raise InvalidField(f"run_ids: has {len(run_ids):,} runs; 1 to {MAX_RUNS:,} are allowed", field="run_ids")
        uids = sorted({parse_run_id(run_id, field="run_ids") for run_id in run_ids}, key=attrgetter("int"))
        check_keys(keys)
        try:
            return await self._read(caller, uids, keys, MANY_SERIES)
        except _TooManySeries:
            async with self._alone():
                return await self._read(caller, uids, keys, MAX_SERIES)

    async def _read(self, caller: Caller, uids: Sequence[UUID], keys: Sequence[str], max_series: int) -> LatestPoints:
        async with self._read_pool.transaction() as transaction:
            few = await _stored_of_few(transaction, caller, uids, keys) if len(uids) <= _FEW_RUNS else None
            series_ids, there, points = few or await self._stored(transaction, caller, uids, keys, max_series)
            ranks = (await compute(len(points), np.unique, points.rank)).tolist()
            hot = hot_windows.windows(transaction, series_ids, runs=uids, ranks=ranks, divide=True)
            async with aclosing(hot) as windows:
                async for window in windows:
                    await compute(len(window), apply_hot_points, points, there, window)
        return await compute(len(points), _in_order, points, there)

    async def _stored(
        self,
        transaction: ReadTransaction,
        caller: Caller,
        run_ids: Sequence[UUID],
        keys: Sequence[str],
        max_series: int,
    ) -> _Stored:
        """All series of some runs, whether a latest point is stored for each, and that point."""
        async with self._read_pool.readers(transaction, two=len(run_ids) >= _MANY_RUNS) as readers:
            rows, one_of_each, key_number = await _rows(readers, caller, run_ids, keys, max_series)
        texts: list[str] = []
        for start in range(0, len(one_of_each), _KEYS_AT_ONCE):
            wanted = one_of_each[start : start + _KEYS_AT_ONCE].tolist()
            found: dict[int, str] = {row[0]: row[1] for row in await transaction.fetch("keys_of_series", wanted)}
            texts += [found[series_id] for series_id in wanted]
        return await compute(len(key_number), _named, run_ids, rows, key_number, texts)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        try:
            await with_timeout(self._large.acquire(), _LONGEST_WAIT_S)
        except TimeoutError as error:
            raise Overloaded(
                f"reads of more than {MANY_SERIES:,} series run one at a time, and others are under way; ask for fewer "
                "runs or keys, or try again"
            ) from error
        try:
            yield
        finally:
            self._large.release()


# All columns of _SERIES and _VALUES as native numbers, a row per series; and `there`: whether roll-up has stored
# values.
_Columns: TypeAlias = "dict[str, NDArray[Any]]"
# The ids of series; whether a latest point is stored for each; and these points.
_Stored: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.bool_], LatestPoints]"


class _TooManySeries(InvalidField):
    """There are more series than the limit of this try. The message names the highest limit, MAX_SERIES."""


def _in_order(points: LatestPoints, there: NDArray[np.bool_]) -> LatestPoints:
    """The points that exist, in the order (run, key, rank, attempt), as callers get them."""
    rows = np.flatnonzero(there)
    order = _order([column[rows] for column in (points.run_index, points.key_index, points.rank, points.attempt)])
    found = points.take(rows[order])
    return found if found.best is None else replace(found, best=found.best.with_nan())


def _order(columns: Sequence[NDArray[np.int64]]) -> NDArray[np.intp]:
    """The order of rows by several columns, the most significant first. No two rows may be equal. Nearly always the
    columns fit into one 64-bit number, which is sorted in a quarter of the time."""
    code, values = np.zeros(len(columns[0]), np.int64), 1
    for column in columns if len(columns[0]) else ():
        least = int(column.min())
        span = int(column.max()) - least + 1
        values *= span
        if values > 2**62:
            return np.lexsort(columns[::-1])
        code = code * span + (column - least)
    return np.argsort(code)


async def _stored_of_few(
    transaction: ReadTransaction, caller: Caller, run_ids: Sequence[UUID], keys: Sequence[str]
) -> _Stored | None:
    """The result of `Latest._stored`, in one round trip; None if there are more than _FEW_SERIES series."""
    rows = await transaction.fetch(
        "latest_stored_of_few", caller.workspace_id, run_ids, list(keys) or None, _FEW_SERIES + 1
    )
    if len(rows) > _FEW_SERIES:
        return None
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * 13
    series_ids, runs, texts, rank, attempt, there, step, time_unix_us, value, *best = columns
    least, least_step, most, most_step = best
    names = sorted(set(texts), key=str.encode)
    index_of = {name: index for index, name in enumerate(names)}
    points = LatestPoints(
        run_ids=[run_id.hex for run_id in run_ids],
        keys=names,
        run_index=np.array([run - 1 for run in runs], np.int64),
        key_index=np.array([index_of[text] for text in texts], np.int64),
        rank=np.array(rank, np.int64),
        attempt=np.array(attempt, np.int64),
        step=np.array(step, np.int64),
        time_unix_us=np.array(time_unix_us, np.int64),
        value=np.array(value, np.float64),
        best=BestValues(
            np.array(least, np.float64),
            np.array(least_step, np.int64),
            np.array(most, np.float64),
            np.array(most_step, np.int64),
        ),
    )
    return np.array(series_ids, np.int64), np.array(there, np.bool_), points


def _named(run_ids: Sequence[UUID], rows: _Columns, key_number: NDArray[np.int64], texts: Sequence[str]) -> _Stored:
    """The series with the names of their keys. `texts`: keys; `key_number` has the index of its key for each row."""
    names, position = _keys_in_order(texts)
    points = LatestPoints(
        run_ids=[run_id.hex for run_id in run_ids],
        keys=names,
        run_index=rows["run"],
        key_index=position[key_number],
        rank=rows["rank"],
        attempt=rows["attempt"],
        step=rows["step"],
        time_unix_us=rows["time"] + EPOCH_2000_UNIX_US,
        value=rows["value"],
        best=BestValues(rows["min_value"], rows["min_step"], rows["max_value"], rows["max_step"]),
    )
    return rows["series_id"], rows["there"], points


async def _rows(
    readers: Sequence[ReadTransaction],
    caller: Caller,
    run_ids: Sequence[UUID],
    keys: Sequence[str],
    max_series: int,
) -> tuple[_Columns, NDArray[np.int64], NDArray[np.int64]]:
    """One row per series; the id of one series for each key; and for each row the index of its key among these.

    So the text of a key is read once, however many series have it. Keys are distinguished by a 64-bit hash. If two keys
    have the same hash, their second hashes differ, and the query is repeated with another seed.
    """
    while True:
        seed = random.getrandbits(62)
        size = -(-len(run_ids) // len(readers))
        reading = [
            _rows_of_some(reader, caller, run_ids[start : start + size], start, keys, seed, max_series)
            for reader, start in zip(readers, range(0, len(run_ids), size), strict=False)
        ]
        parts = await all_ended(reading)
        count = sum(len(part["series_id"]) for part in parts)
        if count > max_series:
            raise _too_many_series()
        rows = await compute(count, _joined, parts)
        found = await compute(count, _distinguish_keys, rows)
        if found is not None:
            return rows, *found


async def _rows_of_some(
    reader: ReadTransaction,
    caller: Caller,
    run_ids: Sequence[UUID],
    first_run: int,
    keys: Sequence[str],
    seed: int,
    max_series: int,
) -> _Columns:
    """The rows of some runs, the first of which is number `first_run` of all. Series and their latest points are read
    one after the other: a join in PostgreSQL takes twice as long."""
    data = await reader.copy_of(
        "series_with_hashes", caller.workspace_id, run_ids, list(keys) or None, seed, max_series + 1
    )
    series = _SERIES.rows(body(data))
    if len(series) > max_series:
        raise _too_many_series()
    columns = await compute(len(series), _by_series, series, first_run)
    statement = await compute(len(series), _latest_of_series, columns["series_id"])
    return await compute(len(series), _with_values, columns, await reader.copy_sql(statement))


def _too_many_series() -> _TooManySeries:
    return _TooManySeries(
        f"run_ids: they have more than {MAX_SERIES:,} series; ask for fewer runs or keys at a time", field="run_ids"
    )


def _by_series(rows: Rows, first_run: int) -> _Columns:
    """The rows as native columns, in the order of series ids."""
    columns: _Columns = {name: int64(rows[name]) for name in _SERIES.names}
    columns["run"] += first_run - 1
    if (np.diff(columns["series_id"]) > 0).all():
        return columns
    order = np.argsort(columns["series_id"])
    return {name: column[order] for name, column in columns.items()}


def _latest_of_series(ids: NDArray[np.int64]) -> str:
    """The statement that reads the latest points of series. Ids are written as ranges, since those of a run are mostly
    consecutive."""
    starts = np.flatnonzero(np.diff(ids, prepend=-1) > 1)
    ends = np.append(starts[1:], len(ids))[: len(starts)] - 1
    return bind(SQL["latest_of_series"], ids[starts].tolist(), ids[ends].tolist())


def _with_values(columns: _Columns, data: bytes) -> _Columns:
    values = _VALUES.rows(body(data))
    count = len(columns["series_id"])
    rows = np.searchsorted(columns["series_id"], int64(values["series_id"]))
    columns["there"] = np.zeros(count, np.bool_)
    columns["there"][rows] = True
    for name, missing in _MISSING.items():
        columns[name] = np.full(count, missing)
        columns[name][rows] = values[name]
    return columns


def _joined(parts: Sequence[_Columns]) -> _Columns:
    return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _distinguish_keys(rows: _Columns) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """The id of one series for each key, and for each row the index of its key among these; None if two keys have the
    same hash."""
    different = np.unique(rows["key_hash"])
    # A few keys are found among many rows, which takes a third of the time of sorting the rows.
    key_number = np.searchsorted(different, rows["key_hash"])
    one_of_each = np.zeros(len(different), np.intp)
    one_of_each[key_number] = np.arange(len(key_number))
    check = rows["key_check"]
    same = (check[one_of_each][key_number] == check).all()
    return (rows["series_id"][one_of_each], key_number) if same else None


def _keys_in_order(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The keys, sorted, and the position of each of `texts` among them."""
    keys = _sorted_with_pauses(texts)
    position_of = {key: position for position, key in enumerate(keys)}
    return keys, np.fromiter((position_of[text] for text in texts), np.int64, len(texts))


def _sorted_with_pauses(texts: Sequence[str]) -> list[str]:
    """Sorts texts in parts, between which other threads get the interpreter. One call of `sorted` would block the event
    loop for a third of a second with half a million keys. (Texts compare as their UTF-8 bytes do.)"""
    if len(texts) <= _KEYS_AT_ONCE:
        return sorted(texts)
    sample = sorted(texts[:: _KEYS_AT_ONCE // 8])
    bounds = sample[8::8]
    parts: list[list[str]] = [[] for _ in range(len(bounds) + 1)]
    for text in texts:
        parts[bisect_right(bounds, text)].append(text)
    return [text for part in parts for text in sorted(part)]


def apply_hot_points(points: LatestPoints, there: NDArray[np.bool_], window: HotWindow) -> None:
    """Replaces stored points by later hot points, and best values by better ones, in place."""
    if points.best is not None:
        points.best.improve(*window.best())
    position, latest = window.latest()
    found = (latest.step, latest.time_unix_us, comparable(latest.value))
    known = (points.step[position], points.time_unix_us[position], comparable(points.value[position]))
    later = ~there[position]
    same = np.ones(len(position), np.bool_)
    for new, old in zip(found, known, strict=True):
        later |= same & (new > old)
        same &= new == old
    position = position[later]
    points.step[position] = latest.step[later]
    points.time_unix_us[position] = latest.time_unix_us[later]
    points.value[position] = latest.value[later]
    there[position] = True
