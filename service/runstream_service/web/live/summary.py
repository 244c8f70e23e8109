"""Summarises new points of a run as one JSON object, with a few numbers for each series however many points it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from runstream_service.web.numbers import number

if TYPE_CHECKING:
    from runstream_service.query.reading.series import Series
    from runstream_service.query.tail.commit_reader import SeriesPoints

# Above this many series, about 400 kB, an event has only those of the lowest ranks.
MAX_SERIES = 2_000

Entries = Sequence[tuple["Series", "SeriesPoints"]]


def encode_points(run_id: str, entries: Entries) -> bytes:
    """The data of an event, as JSON. `entries` are in the order of their commits, and may repeat a series."""
    names = list(dict.fromkeys(series for series, _ in entries))
    names.sort(key=lambda one: (one.rank, one.key.encode(), one.attempt))
    kept = {series: place for place, series in enumerate(names[:MAX_SERIES])}
    body: dict[str, Any] = {
        "run_id": run_id,
        "series": _summaries(kept, [(series, points) for series, points in entries if series in kept]),
    }
    if len(names) > MAX_SERIES:
        body["left_out"] = len(names) - MAX_SERIES
    return orjson.dumps(body)


def _summaries(places: dict[Series, int], entries: Entries) -> list[dict[str, Any]]:
    place = np.repeat([places[series] for series, _ in entries], [len(points) for _, points in entries])
    step, time_us, value = (
        np.concatenate([getattr(points, name) for _, points in entries]) for name in ("step", "time_unix_us", "value")
    )
    order = np.lexsort((time_us, step, place))
    place, step, time_us, value = place[order], step[order], time_us[order], value[order]
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    ends = np.append(starts[1:], len(place)) - 1
    finite = np.isfinite(value)
    finite_count = np.add.reduceat(finite, starts, dtype=np.int64)
    least = np.minimum.reduceat(np.where(finite, value, np.inf), starts)
    greatest = np.maximum.reduceat(np.where(finite, value, -np.inf), starts)
    # The sum of large values could exceed the largest double, so each is divided by the count first.
    share = np.where(finite, value, 0.0) / np.maximum(finite_count, 1)[place - place[0]]
    mean = np.add.reduceat(share, starts)
    none = finite_count == 0
    least[none] = greatest[none] = mean[none] = np.nan
    count = ends - starts + 1
    columns = {
        "count": count,
        "non_finite": count - finite_count,
        "first_step": step[starts],
        "last_step": step[ends],
        "first_time_us": np.minimum.reduceat(time_us, starts),
        "last_time_us": np.maximum.reduceat(time_us, starts),
    }
    values = {"min": least, "max": greatest, "mean": np.clip(mean, least, greatest)}
    values |= {"first": value[starts], "last": value[ends]}
    lists = [*(column.tolist() for column in columns.values()), *(_numbers(column) for column in values.values())]
    fields = ("key", "rank", "attempt", *columns, *values)
    return [
        dict(zip(fields, (series.key, series.rank, series.attempt, *row), strict=True))
        for series, row in zip(places, zip(*lists, strict=True), strict=True)
    ]


def _numbers(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float | str]:
    return [number(value) for value in values.tolist()]
