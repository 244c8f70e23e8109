"""The results of `Client`'s methods."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, overload

from runstream import _frames
from runstream._frames import Column, Tabular
from runstream.v1 import access_pb2, run_pb2

_T = TypeVar("_T", int, float)


class Caller(NamedTuple):
    """Who a client is for the service. `role` is read, write, manage or admin. `authentication`: whether the service
    asks for tokens; if it does not, everybody may do everything."""

    principal: str
    workspace: str
    role: str
    authentication: bool


class Point(NamedTuple):
    """One stored point. `time_unix_us` is microseconds since 1970."""

    step: int
    time_unix_us: int
    value: float
    rank: int
    attempt: int


class LatestPoint(NamedTuple):
    """The latest point of one series, its least and its greatest finite value (NaN if it has none), and the first step
    that had each."""

    run_id: str
    key: str
    rank: int
    attempt: int
    step: int
    time_unix_us: int
    value: float
    min_value: float
    min_step: int
    max_value: float
    max_step: int


class LatestPoints(list[LatestPoint], Tabular):
    """The latest points of several series: a list that can become a data frame."""

    def _columns(self) -> list[Column]:
        return [
            *_series_of_rows(self),
            _of_rows(self, "step", "q"),
            _frames.times("time", [array("q", (point.time_unix_us for point in self))]),
            _of_rows(self, "value", "d"),
            _of_rows(self, "min_value", "d"),
            _of_rows(self, "min_step", "q"),
            _of_rows(self, "max_value", "d"),
            _of_rows(self, "max_step", "q"),
        ]


class BestValue(NamedTuple):
    """The best finite value of a metric of a run, the first step that had it, and the series that has it."""

    run_id: str
    key: str
    rank: int
    attempt: int
    step: int
    value: float


class BestValues(list[BestValue], Tabular):
    """The best values of several runs, best first: a list that can become a data frame."""

    def _columns(self) -> list[Column]:
        return [*_series_of_rows(self), _of_rows(self, "step", "q"), _of_rows(self, "value", "d")]


@dataclass(frozen=True)
class SeriesColumns(Tabular):
    """One series in columns of equal length, ordered by (step, time). `numpy.frombuffer(column)` copies nothing."""

    key: str
    rank: int
    attempt: int
    steps: array[int] = field(default_factory=lambda: array("q"))
    times_unix_us: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def __len__(self) -> int:
        return len(self.values)

    def _columns(self) -> list[Column]:
        return columns_of_series([self])


class History(Sequence[Point], Tabular):
    """All points of one metric of a run, series by series in the order (rank, attempt)."""

    def __init__(self, run_id: str, key: str, series: list[SeriesColumns]) -> None:
        self.run_id = run_id
        self.key = key
        self.series = series

    @property
    def steps(self) -> array[int]:
        """Steps of all points."""
        return _concatenated(array("q"), (one.steps for one in self.series))

    @property
    def times_unix_us(self) -> array[int]:
        """Times of all points, microseconds since 1970."""
        return _concatenated(array("q"), (one.times_unix_us for one in self.series))

    @property
    def values(self) -> array[float]:
        """Values of all points."""
        return _concatenated(array("d"), (one.values for one in self.series))

    def __len__(self) -> int:
        return sum(map(len, self.series))

    def __iter__(self) -> Iterator[Point]:
        for one in self.series:
            for step, time_us, value in zip(one.steps, one.times_unix_us, one.values, strict=True):
                yield Point(step, time_us, value, one.rank, one.attempt)

    @overload
    def __getitem__(self, index: int) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> list[Point]: ...
    def __getitem__(self, index: int | slice) -> Point | list[Point]:
        if isinstance(index, slice):
            return list(self)[index]
        at = index + len(self) if index < 0 else index
        for one in self.series:
            if 0 <= at < len(one):
                return Point(one.steps[at], one.times_unix_us[at], one.values[at], one.rank, one.attempt)
            at -= len(one)
        raise IndexError(index)

    def __repr__(self) -> str:
        return f"<runstream.History {self.key!r}: {len(self)} points in {len(self.series)} series>"

    def _columns(self) -> list[Column]:
        return [_frames.same_texts("run_id", [(self.run_id, len(self))]), *columns_of_series(self.series)]


@dataclass(frozen=True)
class Experiment:
    """An experiment as the service stores it."""

    experiment_id: int
    name: str
    deleted: bool
    created_unix_us: int
    updated_unix_us: int
    retention_days: int | None = None  # points are deleted when they are older; None: never


@dataclass(frozen=True)
class RunInfo:
    """A run as the service stores it. `status` is RUNNING, SCHEDULED, FINISHED, FAILED or KILLED; `end_time_unix_us` is
    None while it runs. Only `get_run` and `search_runs` fill `params` and `tags`."""

    run_id: str
    experiment_id: int
    experiment: str
    name: str
    status: str
    deleted: bool
    user: str
    start_time_unix_us: int
    end_time_unix_us: int | None
    params: dict[str, str]
    tags: dict[str, str]


class RunList(list[RunInfo], Tabular):
    """Runs, in the order that the method documents: a list that can become a data frame."""

    def _columns(self) -> list[Column]:
        texts = ("run_id", "name", "experiment", "status", "user")
        by_name = {name: _frames.texts(name, [getattr(run, name) for run in self]) for name in texts}
        return [
            by_name["run_id"],
            by_name["name"],
            _of_rows(self, "experiment_id", "q"),
            by_name["experiment"],
            by_name["status"],
            _frames.truths("deleted", [run.deleted for run in self]),
            by_name["user"],
            _frames.times("start_time", [[run.start_time_unix_us for run in self]]),
            _frames.times("end_time", [[run.end_time_unix_us for run in self]]),
            *_entries("params", [run.params for run in self]),
            *_entries("tags", [run.tags for run in self]),
        ]


@dataclass(frozen=True)
class TailUpdate:
    """New points of a run, series by series, perhaps none. To continue after them, pass `cursor` to `Client.tail`.

    `replayed`: the points are a piece of the run's history, because the tail could not continue where it was. The first
    such piece in a row starts the history: discard all earlier points. The cursor of these pieces is the one that was
    too old.
    """

    series: list[SeriesColumns]
    cursor: bytes = field(repr=False)
    replayed: bool = False

    def __len__(self) -> int:
        return sum(map(len, self.series))


def best_of_runs(points: Iterable[LatestPoint], goal: str, limit: int | None) -> BestValues:
    """The best value of each run, from the latest points of one key. Of equal values, the one with the lowest step."""
    sign = 1 if goal == "min" else -1
    best: dict[str, BestValue] = {}
    for point in points:
        step, value = (point.min_step, point.min_value) if goal == "min" else (point.max_step, point.max_value)
        one = BestValue(point.run_id, point.key, point.rank, point.attempt, step, value)
        held = best.get(one.run_id)
        if math.isfinite(value) and (held is None or (sign * value, step) < (sign * held.value, held.step)):
            best[one.run_id] = one
    return BestValues(sorted(best.values(), key=lambda one: sign * one.value)[:limit])


def columns_of_series(series: Sequence[SeriesColumns]) -> list[Column]:
    """The columns of a table with the points of several series, one series after the other."""
    return [
        _frames.same_texts("key", [(one.key, len(one)) for one in series]),
        _frames.same_numbers("rank", [(one.rank, len(one)) for one in series]),
        _frames.same_numbers("attempt", [(one.attempt, len(one)) for one in series]),
        _frames.numbers("step", "q", [one.steps for one in series]),
        _frames.times("time", [one.times_unix_us for one in series]),
        _frames.numbers("value", "d", [one.values for one in series]),
    ]


def _series_of_rows(rows: Sequence[LatestPoint] | Sequence[BestValue]) -> list[Column]:
    """The columns that name the series of each row."""
    return [
        _frames.texts("run_id", [row.run_id for row in rows]),
        _frames.texts("key", [row.key for row in rows]),
        _of_rows(rows, "rank", "i"),
        _of_rows(rows, "attempt", "i"),
    ]


def _of_rows(rows: Sequence[Any], name: str, typecode: str) -> Column:
    return _frames.numbers(name, typecode, [array(typecode, [getattr(row, name) for row in rows])])


def _entries(name: str, of_runs: Sequence[dict[str, str]]) -> list[Column]:
    """A column for each key that any run has."""
    keys = sorted({key for entries in of_runs for key in entries})
    return [_frames.texts(f"{name}.{key}", [entries.get(key) for entries in of_runs]) for key in keys]


def to_caller(message: access_pb2.WhoAmIResponse) -> Caller:
    """Converts the response of WhoAmI."""
    role = access_pb2.Role.Name(message.role).removeprefix("ROLE_").lower()
    return Caller(message.principal, message.workspace, role, message.authentication)


def to_experiment(message: run_pb2.Experiment) -> Experiment:
    """Converts the service's message of an experiment."""
    return Experiment(
        experiment_id=message.experiment_id,
        name=message.name,
        deleted=message.lifecycle == run_pb2.LIFECYCLE_DELETED,
        created_unix_us=message.created_unix_us,
        updated_unix_us=message.updated_unix_us,
        retention_days=message.retention_days if message.HasField("retention_days") else None,
    )


def to_run_info(message: run_pb2.Run) -> RunInfo:
    """Converts the service's message of a run."""
    return RunInfo(
        run_id=message.run_id,
        experiment_id=message.experiment_id,
        experiment=message.experiment,
        name=message.name,
        status=run_pb2.RunStatus.Name(message.status).removeprefix("RUN_STATUS_"),
        deleted=message.lifecycle == run_pb2.LIFECYCLE_DELETED,
        user=message.user,
        start_time_unix_us=message.start_time_unix_us,
        end_time_unix_us=message.end_time_unix_us if message.HasField("end_time_unix_us") else None,
        params=dict(message.params),
        tags=dict(message.tags),
    )


def _concatenated(whole: array[_T], columns: Iterable[array[_T]]) -> array[_T]:
    for column in columns:
        whole.extend(column)
    return whole
