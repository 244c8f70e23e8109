"""Which points of a series the service already has, and which are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import runstream
from runstream_service.importing.http import with_retries
from runstream_service.importing.records import Points
from runstream_service.ingest.limits import MLFLOW_ATTEMPT, MLFLOW_RANK


class Compared(NamedTuple):
    """`missing`: points of the source that are not stored; `extra`: how many are stored that the source does not
    have."""

    missing: Points
    extra: int


def keys_with_points(client: runstream.Client, run_id: str) -> set[str]:
    """The metrics of a run that have points of the rank and attempt to which an import writes."""
    latest = with_retries(lambda: client.latest(run_id))
    return {one.key for one in latest if (one.rank, one.attempt) == (MLFLOW_RANK, MLFLOW_ATTEMPT)}


def read_series(client: runstream.Client, run_id: str, key: str) -> Points:
    """All points of a metric that came from an import or over MLflow's routes."""

    def read() -> runstream.History:
        return client.history(run_id, key, rank=MLFLOW_RANK, attempt=MLFLOW_ATTEMPT)

    series = with_retries(read).series
    columns: list[list[Any]] = [[], [], []]
    for one in series:
        columns[0].append(np.frombuffer(one.steps, np.int64))
        columns[1].append(np.frombuffer(one.times_unix_us, np.int64))
        columns[2].append(np.frombuffer(one.values, np.float64))
    return joined(run_id, key, [Points(run_id, key, *parts) for parts in zip(*columns, strict=True)])


def joined(run_id: str, key: str, pieces: list[Points]) -> Points:
    """The pieces of one series as a single piece."""
    if len(pieces) == 1:
        return pieces[0]
    if not pieces:
        return Points(run_id, key, np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    return Points(run_id, key, *(np.concatenate(columns) for columns in list(zip(*pieces, strict=True))[2:]))


def compare(source: Points, stored: Points) -> Compared:
    """Compares points one by one: one that the source has twice, and the service once, is missing once. All NaN are
    equal."""
    if not len(stored):
        return Compared(source, 0)
    both = [
        np.concatenate([source.steps, stored.steps]),
        np.concatenate([source.times_unix_us, stored.times_unix_us]),
        np.concatenate([_bits(source.values), _bits(stored.values)]),
    ]
    is_source = np.arange(len(both[0])) < len(source)
    order = np.lexsort((is_source, *reversed(both)))  # within equal points, first those that are stored
    columns = [column[order] for column in both]
    begins = np.ones(len(order), bool)
    begins[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    group = np.cumsum(begins) - 1
    of_source = is_source[order]
    stored_count = np.bincount(group, ~of_source).astype(np.int64)
    source_count = np.bincount(group, of_source).astype(np.int64)
    place = np.arange(len(order)) - np.flatnonzero(begins)[group]  # of each point among those that are equal
    is_missing = of_source & (place - stored_count[group] >= stored_count[group])
    chosen = np.sort(order[is_missing])
    missing = Points(source.run_id, source.key, *(column[chosen] for column in source[2:]))
    return Compared(missing, int(np.maximum(stored_count - source_count, 0).sum()))


def whole_series(pieces: Iterable[Points], is_wanted: Callable[[str, str], bool]) -> Iterator[tuple[Points, bool]]:
    """The pieces, each with False; but those of a run and key for which `is_wanted` returns true are joined into one
    piece with True."""
    held: list[Points] = []
    for piece in pieces:
        if held and (held[0].run_id, held[0].key) != (piece.run_id, piece.key):
            yield joined(held[0].run_id, held[0].key, held), True
            held = []
        if is_wanted(piece.run_id, piece.key):
            held.append(piece)
        else:
            yield piece, False
    if held:
        yield joined(held[0].run_id, held[0].key, held), True


def _bits(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.where(np.isnan(values), np.nan, values).view(np.int64)
