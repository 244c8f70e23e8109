"""Reads the latest or best values of some keys in thousands of runs, as columns, for searches that use metrics."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from runstream_service.database.copy_rows import RowFormat, Rows, body, float64, int64, unix_us
from runstream_service.database.metric_values import without_infinities
from runstream_service.query.latest import STORED_VALUES, LatestPoints, apply_hot_points
from runstream_service.query.mlflow_view.primary_series import primary_points
from runstream_service.query.reading import hot_windows
from runstream_service.query.reading.read_transaction import compute
from runstream_service.segments.best_values import BestValues

if TYPE_CHECKING:
    from runstream_service.query.reading.hot_windows import HotWindow
    from runstream_service.query.reading.read_transaction import ReadTransaction

Indices = NDArray[np.intp]

# From this many runs on, it is faster to read the series of their whole experiments than to name the runs in a
# statement.
MANY_RUNS = 1_000
_STORED = RowFormat([("run_id", "S16"), ("key", ">i8"), *STORED_VALUES])
_STORED_BEST = RowFormat(
    [("run_id", "S16"), ("key", ">i8"), ("series_id", ">i8"), ("rank", ">i4"), ("min", ">f8"), ("max", ">f8")]
)
_STORED_OF_KEY = RowFormat([("run_id", "S16"), ("rank", ">i4"), ("attempt", ">i4"), ("value", ">f8")])


class Field(NamedTuple):
    """What a search uses of the points of a key: the latest value (kind `metric`), the `minimum` or the `maximum`."""

    kind: str
    key: str


class _Series(NamedTuple):
    """The best values of some series. `run_index` and `key`: the indexes of their run and of their key."""

    series_id: NDArray[np.int64]
    run_index: Indices
    key: NDArray[np.int64]
    rank: NDArray[np.int64]
    best: BestValues


class MetricColumn(NamedTuple):
    """The values of one Field: for each run, whether it has one, and the value. That is the latest value as MLflow
    shows it, or the best finite value of all ranks and attempts."""

    there: NDArray[np.bool_]
    value: NDArray[np.float64]


class MetricColumnReader:
    """Reads columns of values. All runs of interest are in these experiments and lifecycles, which may have others,
    too. `any_hot`: whether there are any hot points."""

    def __init__(
        self, transaction: ReadTransaction, experiment_ids: Sequence[int], lifecycles: Sequence[str], *, any_hot: bool
    ) -> None:
        self._transaction = transaction
        self._experiment_ids = experiment_ids
        self._lifecycles = lifecycles
        self._any_hot = any_hot

    async def read(
        self, run_ids: NDArray[np.bytes_], wanted: Indices, fields: Sequence[Field]
    ) -> dict[Field, MetricColumn]:
        """The values of each field, in the order of `run_ids` (16 bytes each). They are read for the runs at the
        indexes `wanted`, of which there is at least one."""
        latest = [field.key for field in fields if field.kind == "metric"]
        found = await self._latest_columns(run_ids, wanted, latest) if latest else {}
        best = list(dict.fromkeys(field.key for field in fields if field.kind != "metric"))
        return found | (await self._best_columns(run_ids, wanted, best) if best else {})

    async def _latest_columns(
        self, run_ids: NDArray[np.bytes_], wanted: Indices, keys: Sequence[str]
    ) -> dict[Field, MetricColumn]:
        asked = run_ids[wanted]
        if len(keys) > 1 or self._any_hot or len(asked) < MANY_RUNS:
            points = await self._latest(asked, keys)
        else:
            points = await self._stored_of_key(asked, keys[0])
        found = {}
        for number, key in enumerate(keys):
            of_key = points.take(points.key_index == number) if len(keys) > 1 else points
            there, value = np.zeros(len(run_ids), np.bool_), np.full(len(run_ids), np.nan)
            there[wanted[of_key.run_index]] = True
            value[wanted[of_key.run_index]] = without_infinities(of_key.value)
            found[Field("metric", key)] = MetricColumn(there, value)
        return found

    async def _best_columns(
        self, run_ids: NDArray[np.bytes_], wanted: Indices, keys: Sequence[str]
    ) -> dict[Field, MetricColumn]:
        asked = run_ids[wanted]
        data = await self._stored("best", asked, keys)
        series = await compute(len(data) // _STORED_BEST.dtype.itemsize, _best_of_series, asked, data)
        async with aclosing(self._hot(asked, series.series_id, series.rank)) as windows:
            async for window in windows:
                await compute(len(window), lambda window: series.best.improve(*window.best()), window)
        return await compute(len(series.rank), _best_of_runs, series, len(run_ids), wanted, keys)

    async def _stored_of_key(self, asked: NDArray[np.bytes_], key: str) -> LatestPoints:
        """One point per run, for when there are no hot points."""
        data = await self._transaction.copy_of(
            "values_of_key_in_experiments", key, self._experiment_ids, self._lifecycles
        )
        return await compute(len(data) // _STORED_OF_KEY.dtype.itemsize, _points_of_key, asked, key, data)

    async def _latest(self, asked: NDArray[np.bytes_], keys: Sequence[str]) -> LatestPoints:
        """One point per run and key."""
        data = await self._stored("latest", asked, keys)
        series_ids, there, points = await compute(
            len(data) // _STORED.dtype.itemsize, _points_of_keys, asked, keys, data
        )
        async with aclosing(self._hot(asked, series_ids, points.rank)) as windows:
            async for window in windows:
                await compute(len(window), apply_hot_points, points, there, window)
        return await compute(len(points), _one_of_each, points.take(there))

    async def _stored(self, what: str, asked: NDArray[np.bytes_], keys: Sequence[str]) -> bytearray:
        if len(asked) >= MANY_RUNS:
            return await self._transaction.copy_of(
                f"{what}_of_keys_in_experiments", list(keys), self._experiment_ids, self._lifecycles
            )
        return await self._transaction.copy_of(f"{what}_of_keys", list(keys), _ids(asked))

    async def _hot(
        self, asked: NDArray[np.bytes_], series_ids: Sequence[int] | NDArray[np.int64], ranks: NDArray[np.int64]
    ) -> AsyncGenerator[HotWindow, None]:
        """The hot points of some series of these runs and ranks."""
        if not self._any_hot:
            return
        hot = hot_windows.windows(
            self._transaction,
            series_ids,
            runs=await compute(len(asked), _ids, asked),
            ranks=np.unique(ranks).tolist(),
            divide=True,
        )
        async with aclosing(hot) as windows:
            async for window in windows:
                yield window


def _ids(asked: NDArray[np.bytes_]) -> list[UUID]:
    raw = asked.tobytes()
    return [UUID(bytes=raw[at : at + 16]) for at in range(0, len(raw), 16)]


def _points_of_key(asked: NDArray[np.bytes_], key: str, data: bytearray) -> LatestPoints:
    """One point per run, from a COPY. Of its columns, only run, rank, attempt and value are filled in."""
    rows, position = _of_runs(asked, _STORED_OF_KEY.rows(body(data)))
    unknown = np.zeros(len(rows), np.int64)
    points = LatestPoints(
        run_ids=(),
        keys=[key],
        run_index=position,
        key_index=unknown,
        rank=int64(rows["rank"]),
        attempt=int64(rows["attempt"]),
        step=unknown,
        time_unix_us=unknown,
        value=float64(rows["value"]),
    )
    return _one_of_each(points)


def _points_of_keys(
    asked: NDArray[np.bytes_], keys: Sequence[str], data: bytearray
) -> tuple[list[int], NDArray[np.bool_], LatestPoints]:
    """The series, whether a latest point is stored for each, and that point, from a COPY."""
    rows, position = _of_runs(asked, _STORED.rows(body(data)))
    points = LatestPoints(
        run_ids=(),
        keys=keys,
        run_index=position,
        key_index=int64(rows["key"]) - 1,
        rank=int64(rows["rank"]),
        attempt=int64(rows["attempt"]),
        step=int64(rows["step"]),
        time_unix_us=unix_us(rows["time"]),
        value=float64(rows["value"]),
    )
    return int64(rows["series_id"]).tolist(), rows["there"].copy(), points


def _best_of_series(asked: NDArray[np.bytes_], data: bytearray) -> _Series:
    rows, position = _of_runs(asked, _STORED_BEST.rows(body(data)))
    low, high = float64(rows["min"]), float64(rows["max"])
    steps = np.zeros(len(rows), np.int64)  # a search does not use them
    best = BestValues(low, steps, high, steps.copy())
    return _Series(int64(rows["series_id"]), position, int64(rows["key"]) - 1, int64(rows["rank"]), best)


def _best_of_runs(series: _Series, runs: int, wanted: Indices, keys: Sequence[str]) -> dict[Field, MetricColumn]:
    """The best values of each run and key, over its ranks and attempts."""
    found = {}
    for number, key in enumerate(keys):
        of_key = series.key == number
        rows = wanted[series.run_index[of_key]]
        low, high = np.full(runs, np.inf), np.full(runs, -np.inf)
        np.minimum.at(low, rows, series.best.min_value[of_key])
        np.maximum.at(high, rows, series.best.max_value[of_key])
        there = np.isfinite(low)
        found[Field("minimum", key)] = MetricColumn(there, low)
        found[Field("maximum", key)] = MetricColumn(there, high)
    return found


def _of_runs(asked: NDArray[np.bytes_], rows: Rows) -> tuple[Rows, Indices]:
    """The rows that belong to these runs, and for each row the index of its run."""
    order = np.argsort(asked)
    position = order[np.minimum(np.searchsorted(asked[order], rows["run_id"]), len(order) - 1)]
    inside = asked[position] == rows["run_id"]
    return rows[inside], position[inside]


def _one_of_each(points: LatestPoints) -> LatestPoints:
    """The primary point of each run and key."""
    of_each = np.bincount(points.run_index * len(points.keys) + points.key_index)
    if of_each.max(initial=0) <= 1:
        return points
    return primary_points(points.take(np.lexsort((points.attempt, points.rank, points.key_index, points.run_index))))
