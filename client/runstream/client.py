"""Reading back: `Client`. Every call blocks, has a timeout, and raises `RunstreamError` if it fails."""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, TypeVar, overload

import grpc

from runstream import _identity, _settings, _status
from runstream._lifecycle import process
from runstream.v1 import packed_pb2, query_pb2, query_pb2_grpc, run_pb2, run_pb2_grpc

_PAGE = 1_000
_LATEST_RUNS = 1_000  # run ids in one call
_HISTORY = "/runstream.v1.QueryService/History"
_T = TypeVar("_T", int, float)


class Point(NamedTuple):
    """One stored point."""

    step: int
    time_unix_us: int
    value: float
    rank: int
    attempt: int


class LatestPoint(NamedTuple):
    """The latest point of one series."""

    run_id: str
    key: str
    rank: int
    attempt: int
    step: int
    time_unix_us: int
    value: float


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
    """An experiment as the service has it."""

    experiment_id: int
    name: str
    deleted: bool
    created_unix_us: int
    updated_unix_us: int


@dataclass(frozen=True)
class RunInfo:
    """A run as the service has it. `status` is RUNNING, SCHEDULED, FINISHED, FAILED or KILLED; `end_time_unix_us` is
    None while it runs. `params` and `tags` are filled by `get_run` only."""

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


class Client:
    """Reads runs and points, and deletes or restores runs. Safe to share between threads, and after a fork.

    `address` is as in `start_run`; `timeout` is the limit of one call in seconds.
    """

    def __init__(self, address: str | None = None, *, timeout: float = 60.0) -> None:
        self.address = _settings.from_environment(address, os.environ).address
        self.timeout = timeout

    def history(
        self,
        run_id: str,
        key: str,
        *,
        rank: int | None = None,
        attempt: int | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
        timeout: float | None = None,
    ) -> History:
        """All points of a metric: of one rank and attempt, or of all; steps from `min_step` to `max_step` inclusive.

        An unknown key has no points; an unknown run raises NotFound.
        """
        request = query_pb2.HistoryRequest(
            run_id=_identity.check_run_id(run_id),
            keys=[key],
            rank=rank,
            attempt=attempt,
            min_step=min_step,
            max_step=max_step,
        )
        series: list[SeriesColumns] = []
        with process.channels.using(self.address) as channel:
            # Columns as blocks of memory (packed.proto), not as a Python object for each number.
            method = channel.unary_stream(
                _HISTORY,
                request_serializer=query_pb2.HistoryRequest.SerializeToString,
                response_deserializer=packed_pb2.PackedHistoryResponse.FromString,
            )
            try:
                for response in method(request, timeout=timeout or self.timeout):
                    _append(series, response)
            except grpc.RpcError as error:
                raise _status.to_exception(_status.from_rpc_error(error), self.address) from error
        return History(request.run_id, key, series)

    def latest(self, run_ids: str | Iterable[str], keys: Iterable[str] | None = None) -> list[LatestPoint]:
        """The latest point of every series of these runs: the one with the greatest (step, time, value)."""
        wanted = [_identity.check_run_id(one) for one in ([run_ids] if isinstance(run_ids, str) else run_ids)]
        names = list(keys or ())
        points: list[LatestPoint] = []
        for start in range(0, len(wanted), _LATEST_RUNS):
            request = query_pb2.LatestRequest(run_ids=wanted[start : start + _LATEST_RUNS], keys=names)
            response: query_pb2.LatestResponse = self._call(query_pb2_grpc.QueryServiceStub, "Latest", request)
            points += [
                LatestPoint(
                    one.series.run_id,
                    one.series.key,
                    one.series.rank,
                    one.series.attempt,
                    one.step,
                    one.time_unix_us,
                    one.value,
                )
                for one in response.points
            ]
        return points

    def get_run(self, run_id: str) -> RunInfo:
        """One run with params and tags, also a deleted one."""
        request = run_pb2.GetRunRequest(run_id=_identity.check_run_id(run_id))
        response: run_pb2.GetRunResponse = self._call(run_pb2_grpc.RunServiceStub, "GetRun", request)
        return _run_info(response.run)

    def list_runs(self, experiment: str | int, *, limit: int | None = None) -> list[RunInfo]:
        """The active runs of an experiment (its name or id), newest first; at most `limit`."""
        number = experiment if isinstance(experiment, int) else self.get_experiment(experiment).experiment_id
        request = run_pb2.ListRunsRequest(experiment_id=number)
        return [_run_info(run) for run in self._pages("ListRuns", request, "runs", limit)]

    def get_experiment(self, experiment: str | int) -> Experiment:
        """One experiment, by name or id."""
        if isinstance(experiment, int):
            request = run_pb2.GetExperimentRequest(experiment_id=experiment)
        else:
            request = run_pb2.GetExperimentRequest(name=experiment)
        response: run_pb2.GetExperimentResponse = self._call(run_pb2_grpc.RunServiceStub, "GetExperiment", request)
        return _experiment(response.experiment)

    def list_experiments(self, *, limit: int | None = None) -> list[Experiment]:
        """The active experiments, newest first; at most `limit`."""
        request = run_pb2.ListExperimentsRequest()
        return [_experiment(one) for one in self._pages("ListExperiments", request, "experiments", limit)]

    def delete_run(self, run_id: str) -> None:
        """Marks a run as deleted: it takes no points any more. `restore_run` takes that back."""
        request = run_pb2.DeleteRunRequest(run_id=_identity.check_run_id(run_id))
        self._call(run_pb2_grpc.RunServiceStub, "DeleteRun", request)

    def restore_run(self, run_id: str) -> None:
        """Takes a deletion back. Handles that noticed it stay ended; start or join the run again."""
        request = run_pb2.RestoreRunRequest(run_id=_identity.check_run_id(run_id))
        self._call(run_pb2_grpc.RunServiceStub, "RestoreRun", request)

    def close(self) -> None:
        """Closes the connection if nobody else in this process uses it. The client opens it again when needed."""
        process.channels.close_unused(self.address)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<runstream.Client {self.address}>"

    def _call(self, stub: Any, method: str, request: Any) -> Any:
        with process.channels.using(self.address) as channel:
            try:
                return getattr(stub(channel), method)(request, timeout=self.timeout)
            except grpc.RpcError as error:
                raise _status.to_exception(_status.from_rpc_error(error), self.address) from error

    def _pages(self, method: str, request: Any, items: str, limit: int | None) -> Iterator[Any]:
        left = limit
        while left is None or left > 0:
            request.page_size = _PAGE if left is None else min(left, _PAGE)
            response = self._call(run_pb2_grpc.RunServiceStub, method, request)
            page = getattr(response, items)
            yield from page if left is None else page[:left]
            left = None if left is None else left - len(page)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token


def _append(series: list[SeriesColumns], response: packed_pb2.PackedHistoryResponse) -> None:
    """Adds a piece to the last series if it goes on with that, else begins the next."""
    whose = query_pb2.Series.FromString(response.series)
    name = (whose.key, whose.rank, whose.attempt)
    if not series or (series[-1].key, series[-1].rank, series[-1].attempt) != name:
        series.append(SeriesColumns(*name))
    last = series[-1]
    for column, data in (
        (last.steps, response.step),
        (last.times_unix_us, response.time_unix_us),
        (last.values, response.value),
    ):
        piece = array(column.typecode, data)
        if len(piece) != response.point_count:
            raise _status.to_exception(
                _status.Failure("INTERNAL", f"a column has {len(piece)} of {response.point_count} points"), "history"
            )
        if sys.byteorder == "big":
            piece.byteswap()
        column.extend(piece)


def _joined(whole: array[_T], columns: Iterable[array[_T]]) -> array[_T]:
    for column in columns:
        whole.extend(column)
    return whole


def _experiment(message: run_pb2.Experiment) -> Experiment:
    return Experiment(
        experiment_id=message.experiment_id,
        name=message.name,
        deleted=message.lifecycle == run_pb2.LIFECYCLE_DELETED,
        created_unix_us=message.created_unix_us,
        updated_unix_us=message.updated_unix_us,
    )


def _run_info(message: run_pb2.Run) -> RunInfo:
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
