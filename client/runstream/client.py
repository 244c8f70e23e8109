"""Reading: `Client`. Every call blocks, has a timeout, and raises `RunstreamError` if it fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal

import grpc

from runstream import _protobuf_version as _protobuf_version  # isort: skip (first: the imports below load generated code)
from runstream import _arguments, _identity, _query_calls, _settings, _status
from runstream._channel import channels
from runstream._chart_results import AggregateCurve, Chart, ChartSeries
from runstream._results import (
    BestValue,
    BestValues,
    Caller,
    Experiment,
    History,
    LatestPoint,
    LatestPoints,
    Point,
    RunInfo,
    RunList,
    SeriesColumns,
    TailUpdate,
    best_of_runs,
    to_caller,
    to_experiment,
    to_run_info,
)
from runstream.mlflow.address import http_url_here, uri_with_token
from runstream.v1 import access_pb2, access_pb2_grpc, query_pb2, run_pb2, run_pb2_grpc

__all__ = [
    "AggregateCurve",
    "BestValue",
    "BestValues",
    "Caller",
    "Chart",
    "ChartSeries",
    "Client",
    "Experiment",
    "History",
    "LatestPoint",
    "LatestPoints",
    "Point",
    "RunInfo",
    "RunList",
    "SeriesColumns",
    "TailUpdate",
]

_AXES = {"step": query_pb2.AXIS_STEP, "time": query_pb2.AXIS_TIME}

_INT32_MAX = 2**31 - 1
_PAGE = 1_000
_LATEST_RUNS = 1_000  # run ids in one call


class Client:
    """Reads and deletes runs and points. Safe to share between threads, and to use after a fork.

    `address`, `token` and `workspace` are as in `start_run`; `environ` is used instead of `os.environ`. `timeout` is
    the limit of one call in seconds; it may be infinite. Every method raises TypeError or ValueError for an argument of
    a wrong form, and `RunstreamError` if the call fails; `runstream.errors` lists its kinds.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float = 60.0,
        token: str | None = None,
        workspace: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        settings = _settings.from_environment(address, self._environ, token=token, workspace=workspace)
        self._endpoint = settings.endpoint
        self.address = settings.address
        _arguments.timeout_seconds(timeout)
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
        """Returns all points of a metric, of one rank and attempt or of all, with steps from `min_step` to `max_step`
        inclusive.

        An unknown key has no points; an unknown run raises NotFound.
        """
        if not isinstance(key, str):
            raise TypeError(f"key must be a string, not {type(key).__name__}; stream_history() takes several keys")
        series: list[SeriesColumns] = []
        pieces = self.stream_history(
            run_id, key, rank=rank, attempt=attempt, min_step=min_step, max_step=max_step, timeout=timeout
        )
        for piece in pieces:
            if not series or (series[-1].rank, series[-1].attempt) != (piece.rank, piece.attempt):
                series.append(piece)
                continue
            series[-1].steps.extend(piece.steps)
            series[-1].times_unix_us.extend(piece.times_unix_us)
            series[-1].values.extend(piece.values)
        return History(_identity.check_run_id(run_id), key, series)

    def stream_history(
        self,
        run_id: str,
        keys: str | Iterable[str] | None = None,
        *,
        rank: int | None = None,
        attempt: int | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[SeriesColumns]:
        """Yields a history as it arrives, in pieces of at most 16,384 points: series by series in the order (key, rank,
        attempt), of one key, several keys, or all (None). It needs memory for one piece only."""
        request = query_pb2.HistoryRequest(
            run_id=self._run_id(run_id, timeout),
            keys=_arguments.keys_to_read(keys),
            rank=_rank(rank),
            attempt=_attempt(attempt),
            min_step=_arguments.integer_or_none("min_step", min_step),
            max_step=_arguments.integer_or_none("max_step", max_step),
        )
        return _query_calls.history(self._endpoint, request, self._limit(timeout))

    def tail(
        self,
        run_id: str,
        keys: str | Iterable[str] | None = None,
        *,
        rank: int | None = None,
        cursor: bytes = b"",
    ) -> Iterator[TailUpdate]:
        """Yields new points of a run as they are committed, without end: from now on, or after the `cursor` of an
        earlier update.

        The first update comes at once and may be empty. Each point comes once: after a lost connection, the tail
        continues automatically. After minutes without a connection, or when another database server took over, it
        cannot continue: then the whole history comes first, in updates that are `replayed`. If the `cursor` of an
        earlier call has become too old, the call raises InvalidArgument with reason CURSOR_TOO_OLD: read `history`
        instead. Close the iterator to end the call.
        """
        request = query_pb2.TailRequest(
            run_id=self._run_id(run_id),
            keys=_arguments.keys_to_read(keys),
            rank=_rank(rank),
            cursor=cursor,
        )
        return _query_calls.tail(self._endpoint, request, self.timeout)

    def latest(self, run_ids: str | Iterable[str], keys: str | Iterable[str] | None = None) -> LatestPoints:
        """Returns the latest point of every series of these runs: the one with the greatest (step, time, value)."""
        wanted = self._run_ids(run_ids)
        names = _arguments.keys_to_read(keys)
        points = LatestPoints()
        for start in range(0, len(wanted), _LATEST_RUNS):
            request = query_pb2.LatestRequest(run_ids=wanted[start : start + _LATEST_RUNS], keys=names)
            points += _query_calls.latest(self._endpoint, request, self._limit(None))
        return points

    def chart(
        self,
        run_ids: str | Iterable[str],
        keys: str | Iterable[str] | None = None,
        *,
        rank: int | None = None,
        attempt: int | None = None,
        axis: Literal["step", "time"] = "step",
        min_position: int | None = None,
        max_position: int | None = None,
        max_buckets: int = 1_000,
        log_origin: int | None = None,
        timeout: float | None = None,
    ) -> Chart:
        """Curves of metrics of up to 100 runs: one for each (run, key, rank), in at most `max_buckets` buckets. Every
        point is in one bucket, and no spike is lost: each bucket has its least and greatest value.

        The axis is divided between two positions, both included: steps, or microseconds since 1970. They default to the
        first and the last point. Without `attempt`, the newest one wins from its first step on. If a series has no more
        points than buckets, each point has a bucket of its own. For a logarithmic axis, `log_origin` is the position
        where it begins: 0 for steps, or the start of the run. Buckets are then equally wide on that axis.
        """
        if axis not in _AXES:
            raise ValueError(f"axis must be 'step' or 'time', not {axis!r}")
        request = query_pb2.ChartRequest(
            run_ids=self._run_ids(run_ids, timeout),
            keys=_arguments.keys_to_read(keys),
            rank=_rank(rank),
            attempt=_attempt(attempt),
            axis=_AXES[axis],
            min_position=_arguments.integer_or_none("min_position", min_position),
            max_position=_arguments.integer_or_none("max_position", max_position),
            max_buckets=_arguments.integer("max_buckets", max_buckets, 1, _INT32_MAX),
            log_origin=_arguments.integer_or_none("log_origin", log_origin),
        )
        return Chart(list(_query_calls.chart(self._endpoint, request, self._limit(timeout))), axis)

    def aggregate(
        self,
        run_id: str,
        key: str,
        *,
        min_step: int | None = None,
        max_step: int | None = None,
        max_buckets: int = 1_000,
        log_origin: int | None = None,
        timeout: float | None = None,
    ) -> AggregateCurve:
        """One curve over all ranks of a run: the least, greatest and mean value, and which ranks had the extremes.

        Each step has its own bucket if there are no more than `max_buckets` steps. An unknown key has an empty curve.
        `log_origin` is as in `chart`.
        """
        request = query_pb2.AggregateRequest(
            run_id=self._run_id(run_id, timeout),
            key=key,
            min_step=_arguments.integer_or_none("min_step", min_step),
            max_step=_arguments.integer_or_none("max_step", max_step),
            max_buckets=_arguments.integer("max_buckets", max_buckets, 1, _INT32_MAX),
            log_origin=_arguments.integer_or_none("log_origin", log_origin),
        )
        return _query_calls.aggregate(self._endpoint, request, self._limit(timeout))

    def get_run(self, run_id: str) -> RunInfo:
        """One run with its params and tags, even if it is deleted."""
        request = run_pb2.GetRunRequest(run_id=self._run_id(run_id))
        response: run_pb2.GetRunResponse = self._call(run_pb2_grpc.RunServiceStub, "GetRun", request)
        return to_run_info(response.run)

    def list_runs(self, experiment: str | int, *, limit: int | None = None) -> RunList:
        """The active runs of an experiment (its name or id), newest first; at most `limit`."""
        request = run_pb2.ListRunsRequest(experiment_id=self._experiment_id(experiment))
        return RunList(to_run_info(run) for run in self._pages("ListRuns", request, "runs", limit))

    def search_runs(
        self,
        filter: str = "",  # as in MLflow's search_runs
        *,
        order_by: str | Iterable[str] = (),
        experiment: str | int | None = None,
        deleted: bool = False,
        limit: int | None = None,
    ) -> RunList:
        """The runs that match a filter, such as `metrics.loss < 0.1 AND (params.lr = '0.01' OR NOT tags.old = 'yes')`,
        with their params and tags; at most `limit`. Active runs, or deleted ones.

        `order_by`: fields such as `metrics.loss ASC`; what is equal in them comes newest first. `experiment`: its name
        or id; None means all. A filter that cannot be read raises InvalidArgument, which says where it is wrong.
        """
        request = run_pb2.SearchRunsRequest(
            experiment_ids=() if experiment is None else (self._experiment_id(experiment),),
            filter=_arguments.text("filter", filter),
            order_by=_arguments.strings("order_by", order_by),
            deleted=deleted,
        )
        return RunList(to_run_info(run) for run in self._pages("SearchRuns", request, "runs", limit))

    def best(
        self,
        key: str,
        goal: Literal["min", "max"],
        *,
        run_ids: str | Iterable[str] | None = None,
        experiment: str | int | None = None,
        filter: str = "",
        limit: int | None = None,
    ) -> BestValues:
        """Returns the best finite value of a metric in each run, over all its ranks and attempts: the least (`goal`
        "min") or the greatest ("max"). The best run comes first; at most `limit` are returned, and runs without a
        finite value are left out. `client.best("loss", "min", experiment="digits", limit=3)` returns the three best.

        `run_ids` names the runs, which may be deleted. Without it, the runs are the active ones that match `filter`, as
        in `search_runs`, in one `experiment` or in all.
        """
        if goal not in ("min", "max"):
            raise ValueError(f"goal must be 'min' or 'max', not {goal!r}")
        most = _arguments.integer_or_none("limit", limit, 0)
        if run_ids is None:
            order = _arguments.order_by_best(key, goal)
            runs = self.search_runs(filter, order_by=order, experiment=experiment, limit=limit)
            ids = [run.run_id for run in runs]
        elif experiment is not None or filter:
            raise ValueError("run_ids names the runs; leave out experiment and filter")
        else:
            ids = self._run_ids(run_ids)
        return best_of_runs(self.latest(ids, _arguments.text("key", key)), goal, most)

    def get_experiment(self, experiment: str | int) -> Experiment:
        """One experiment, by name or id."""
        if isinstance(experiment, str):
            request = run_pb2.GetExperimentRequest(name=experiment)
        else:
            request = run_pb2.GetExperimentRequest(experiment_id=_arguments.integer("experiment", experiment))
        response: run_pb2.GetExperimentResponse = self._call(run_pb2_grpc.RunServiceStub, "GetExperiment", request)
        return to_experiment(response.experiment)

    def list_experiments(self, *, limit: int | None = None) -> list[Experiment]:
        """The active experiments, newest first; at most `limit`."""
        request = run_pb2.ListExperimentsRequest()
        return [to_experiment(one) for one in self._pages("ListExperiments", request, "experiments", limit)]

    def delete_run(self, run_id: str) -> None:
        """Marks a run as deleted, so that it accepts no more points. `restore_run` undoes that."""
        request = run_pb2.DeleteRunRequest(run_id=self._run_id(run_id))
        self._call(run_pb2_grpc.RunServiceStub, "DeleteRun", request)

    def restore_run(self, run_id: str) -> None:
        """Restores a deleted run. Handles that are still open send points again within a minute."""
        request = run_pb2.RestoreRunRequest(run_id=self._run_id(run_id))
        self._call(run_pb2_grpc.RunServiceStub, "RestoreRun", request)

    def move_run(self, run_id: str, experiment: str | int, *, create: bool = False) -> RunInfo:
        """Moves a run to another experiment (its name or id) of its workspace, and returns the moved run. If it is
        there already, nothing changes. With `create`, the experiment of this name is created if there is none.

        Points, params, tags, inputs and logged models move with the run; files keep their URIs, and child runs stay
        where they are. From then on the retention of the new experiment applies. A job that is logging to the run
        continues. A deleted run or experiment raises FailedPrecondition; an unknown one, or one of another workspace,
        NotFound.
        """
        if create and isinstance(experiment, str):
            made: run_pb2.CreateExperimentResponse = self._call(
                run_pb2_grpc.RunServiceStub, "CreateExperiment", run_pb2.CreateExperimentRequest(name=experiment)
            )
            experiment = made.experiment.experiment_id
        request = run_pb2.MoveRunRequest(run_id=self._run_id(run_id), experiment_id=self._experiment_id(experiment))
        response: run_pb2.MoveRunResponse = self._call(run_pb2_grpc.RunServiceStub, "MoveRun", request)
        return to_run_info(response.run)

    def delete_series(self, run_id: str, keys: str | Iterable[str]) -> int:
        """Deletes all points of some keys of a run for good, of all ranks and attempts; returns the number of series
        that were deleted. If a job continues to log such a key, a new series starts."""
        names = _arguments.some_keys(keys, "name the metrics to delete")
        request = run_pb2.DeleteSeriesRequest(run_id=self._run_id(run_id), keys=names)
        response: run_pb2.DeleteSeriesResponse = self._call(run_pb2_grpc.RunServiceStub, "DeleteSeries", request)
        return response.series_count

    def set_retention(self, experiment: str | int, days: int | None) -> None:
        """Sets for how many days the points of an experiment (its name or id) are kept; None: forever. Older points are
        deleted, including those that are stored already."""
        request = run_pb2.SetRetentionRequest(
            experiment_id=self._experiment_id(experiment),
            retention_days=_arguments.integer_or_none("days", days, 0, _INT32_MAX),
        )
        self._call(run_pb2_grpc.RunServiceStub, "SetRetention", request)

    def who_am_i(self) -> Caller:
        """Returns who this client is for the service: its principal, workspace and role. Raises Unauthenticated if the
        service does not accept the token, or asks for one and there is none."""
        request = access_pb2.WhoAmIRequest()
        response: access_pb2.WhoAmIResponse = self._call(access_pb2_grpc.AccessServiceStub, "WhoAmI", request)
        return to_caller(response)

    def tracking_uri(self, expires: float | timedelta = 3600.0) -> str:
        """Returns a URI for `mlflow.set_tracking_uri`, which contains a token of its own and stops working after
        `expires` (seconds or a timedelta; a day at most). Its rights are those of this client, except that it cannot
        delete. Treat it as a secret. Each call makes another one."""
        seconds = expires.total_seconds() if isinstance(expires, timedelta) else float(expires)
        if not 1 <= seconds <= 86_400:
            raise ValueError(f"expires {expires!r}: expected a second to a day, in seconds or as a timedelta")
        request = access_pb2.CreateTrackingUriRequest(expires_in_s=seconds)
        made: access_pb2.CreateTrackingUriResponse = self._call(
            access_pb2_grpc.AccessServiceStub, "CreateTrackingUri", request
        )
        return made.uri or uri_with_token(http_url_here(self.address, self._environ), made.text)

    def close(self) -> None:
        """Closes the connection if nothing else in this process uses it. The client opens it again when needed."""
        channels().close_unused(self._endpoint)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<runstream.Client {self.address}>"

    def _experiment_id(self, experiment: str | int) -> int:
        if isinstance(experiment, str):
            return self.get_experiment(experiment).experiment_id
        return _arguments.integer("experiment", experiment)

    def _limit(self, timeout: float | None) -> float | None:
        """The limit of a call in seconds: its own `timeout`, even if that is 0, else that of the client."""
        seconds = _arguments.timeout_seconds(self.timeout if timeout is None else timeout)
        if seconds == 0:  # gRPC might still accept a response that arrives at once
            failure = _status.Failure("DEADLINE_EXCEEDED", "a timeout of 0 has passed already")
            raise _status.to_exception(failure, self._endpoint)
        return seconds

    def _run_id(self, run_id: str, timeout: float | None = None) -> str:
        """The id in its plain form. If this process has just started the run, waits until the run exists."""
        plain = _identity.check_run_id(run_id)
        lifecycle = sys.modules.get("runstream._lifecycle")  # else this process has started none
        if lifecycle is not None:
            lifecycle.process_state.wait_created(self.address, plain, self.timeout if timeout is None else timeout)
        return plain

    def _run_ids(self, run_ids: str | Iterable[str], timeout: float | None = None) -> list[str]:
        return [self._run_id(run_id, timeout) for run_id in _arguments.run_ids_to_read(run_ids)]

    def _call(self, stub: Any, method: str, request: Any) -> Any:
        metadata = self._endpoint.metadata()
        with channels().lease(self._endpoint) as channel:
            try:
                return getattr(stub(channel), method)(request, timeout=self._limit(None), metadata=metadata)
            except grpc.RpcError as error:
                raise _query_calls.failed(error, self._endpoint, channel) from error

    def _pages(self, method: str, request: Any, items: str, limit: int | None) -> Iterator[Any]:
        left = _arguments.integer_or_none("limit", limit, 0)
        while left is None or left > 0:
            request.page_size = _PAGE if left is None else min(left, _PAGE)
            response = self._call(run_pb2_grpc.RunServiceStub, method, request)
            page = getattr(response, items)
            yield from page if left is None else page[:left]
            left = None if left is None else left - len(page)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token


def _rank(rank: int | None) -> int | None:
    return _arguments.integer_or_none("rank", rank, -1, _INT32_MAX)  # -1: points that came over MLflow's routes


def _attempt(attempt: int | None) -> int | None:
    return _arguments.integer_or_none("attempt", attempt, 0, _INT32_MAX)
