"""The results of `Client`'s methods."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar, overload

from runstream.v1 import access_pb2, run_pb2

_T = TypeVar("_T", int, float)


class Caller(NamedTuple):
    """Who the service takes a client for. `role` is read, write, manage or admin. `authentication`: whether the service
    asks for tokens; without, everybody may do everything."""

    principal: str
    workspace: str
    role: str
    authentication: bool


class Point(NamedTuple):
    """One stored point."""

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


@dataclass(frozen=True)
class SeriesColumns:
    """One series in columns of equal length, ordered by (step, time). `numpy.frombuffer(column)` copies nothing."""

    key: str
    rank: int
    attempt: int
    steps: array[int] = field(default_factory=lambda: array("q"))
    times_unix_us: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def __len__(self) -> int:
        return len(self.values)


class History(Sequence[Point]):
    """All points of one metric of a run, series by series in the order (rank, attempt)."""

    def __init__(self, run_id: str, key: str, series: list[SeriesColumns]) -> None:
        self.run_id = run_id
        self.key = key
        self.series = series

    @property
    def steps(self) -> array[int]:
        """Steps of all points."""
        return _joined(array("q"), (one.steps for one in self.series))

    @property
    def times_unix_us(self) -> array[int]:
        """Times of all points, microseconds since 1970."""
        return _joined(array("q"), (one.times_unix_us for one in self.series))

    @property
    def values(self) -> array[float]:
        """Values of all points."""
        return _joined(array("d"), (one.values for one in self.series))

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
    None while it runs. Only `get_run` and `search_runs` fill `params` and
    `tags`."""

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


@dataclass(frozen=True)
class News:
    """New points of a run, series by series, perhaps none. To continue after them, pass `cursor` to `Client.tail`.

    `retold`: they are a piece of the run's history, because the tail could not continue where it was. The first such
    piece in a row starts the history: discard all earlier points. Their cursor is the one that was too old.
    """

    series: list[SeriesColumns]
    cursor: bytes = field(repr=False)
    retold: bool = False

    def __len__(self) -> int:
        return sum(map(len, self.series))


def to_caller(message: access_pb2.WhoAmIResponse) -> Caller:
    """Converts the message of the service."""
    role = access_pb2.Role.Name(message.role).removeprefix("ROLE_").lower()
    return Caller(message.principal, message.workspace, role, message.authentication)


def to_experiment(message: run_pb2.Experiment) -> Experiment:
    """Converts the message of the service."""
    return Experiment(
        experiment_id=message.experiment_id,
        name=message.name,
        deleted=message.lifecycle == run_pb2.LIFECYCLE_DELETED,
        created_unix_us=message.created_unix_us,
        updated_unix_us=message.updated_unix_us,
        retention_days=message.retention_days if message.HasField("retention_days") else None,
    )


def to_run_info(message: run_pb2.Run) -> RunInfo:
    """Converts the message of the service."""
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


def _joined(whole: array[_T], columns: Iterable[array[_T]]) -> array[_T]:
    for column in columns:
        whole.extend(column)
    return whole
