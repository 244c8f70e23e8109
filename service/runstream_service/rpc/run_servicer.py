"""RunService: decodes, calls the core, encodes. Errors become statuses in the interceptor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from runstream.v1 import run_pb2, run_pb2_grpc
from runstream_service.core.launches import Launch
from runstream_service.core.pages import check_page_size
from runstream_service.core.runs import NewRun
from runstream_service.database.times import to_unix_us
from runstream_service.errors.core import InvalidField
from runstream_service.query.run_search.run_search import RunSearchQuery
from runstream_service.rpc.caller import caller_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.core.experiment_activity import ExperimentActivity
    from runstream_service.core.experiments import Experiment, Experiments
    from runstream_service.core.run_moves import RunMoves
    from runstream_service.core.run_rows import Run
    from runstream_service.core.runs import Runs
    from runstream_service.query.run_search.run_search import RunSearch

Context = grpc.aio.ServicerContext[Any, Any]

_STATUS_NAMES: dict[int, str] = {
    number: name.removeprefix("RUN_STATUS_").lower() for name, number in run_pb2.RunStatus.items()
}
_MAX_EXPERIMENTS = 10_000
# A page of a search has about this many bytes at most, since many gRPC clients accept messages of at most 4 MiB.
_PAGE_BYTES = 2 * 1024 * 1024
_RUNS_PER_READ = 100


class RunServicer(run_pb2_grpc.RunServiceServicer):
    """One method per RPC; their contract is in run.proto."""

    def __init__(
        self,
        experiments: Experiments,
        runs: Runs,
        run_moves: RunMoves,
        run_search: RunSearch,
        activity: ExperimentActivity,
    ) -> None:
        self._experiments = experiments
        self._runs = runs
        self._run_moves = run_moves
        self._run_search = run_search
        self._activity = activity

    async def CreateExperiment(
        self, request: run_pb2.CreateExperimentRequest, context: Context
    ) -> run_pb2.CreateExperimentResponse:
        experiment, created = await self._experiments.create(caller_of(context), request.name)
        return run_pb2.CreateExperimentResponse(experiment=_experiment(experiment), created=created)

    async def GetExperiment(
        self, request: run_pb2.GetExperimentRequest, context: Context
    ) -> run_pb2.GetExperimentResponse:
        selector = request.WhichOneof("selector")
        selected_by = {selector: getattr(request, selector)} if selector else {}
        experiment = await self._experiments.get(caller_of(context), **selected_by)
        return run_pb2.GetExperimentResponse(experiment=_experiment(experiment))

    async def ListExperiments(
        self, request: run_pb2.ListExperimentsRequest, context: Context
    ) -> run_pb2.ListExperimentsResponse:
        page, token = await self._experiments.list(
            caller_of(context), page_size=request.page_size, page_token=request.page_token
        )
        return run_pb2.ListExperimentsResponse(experiments=map(_experiment, page), next_page_token=token)

    async def CreateRun(self, request: run_pb2.CreateRunRequest, context: Context) -> run_pb2.CreateRunResponse:
        new = NewRun(
            run_id=request.run_id,
            experiment=request.experiment,
            name=request.name,
            user=request.user,
            start_time_unix_us=request.start_time_unix_us,
            params=dict(request.params),
            tags=dict(request.tags),
            launch=Launch(
                rank=request.rank,
                attempt=request.attempt,
                age_us=request.age_us,
                derived=request.derived,
            ),
        )
        answer = await self._runs.create(caller_of(context), new)
        return run_pb2.CreateRunResponse(
            run=_run(answer.run), created=answer.created, attempt_has_points=answer.attempt_has_points
        )

    async def GetRun(self, request: run_pb2.GetRunRequest, context: Context) -> run_pb2.GetRunResponse:
        return run_pb2.GetRunResponse(run=_run(await self._runs.get(caller_of(context), request.run_id)))

    async def ListRuns(self, request: run_pb2.ListRunsRequest, context: Context) -> run_pb2.ListRunsResponse:
        page, token = await self._runs.list(
            caller_of(context), request.experiment_id, page_size=request.page_size, page_token=request.page_token
        )
        return run_pb2.ListRunsResponse(runs=map(_run, page), next_page_token=token)

    async def SearchRuns(self, request: run_pb2.SearchRunsRequest, context: Context) -> run_pb2.SearchRunsResponse:
        if len(request.experiment_ids) > _MAX_EXPERIMENTS:
            raise InvalidField(
                f"experiment_ids: has {len(request.experiment_ids):,}; at most {_MAX_EXPERIMENTS:,} are allowed",
                field="experiment_ids",
            )
        caller = caller_of(context)
        query = RunSearchQuery(
            experiment_ids=list(request.experiment_ids) or await self._activity.all_ids(caller),
            filter=request.filter,
            order_by=list(request.order_by),
            lifecycles=("deleted",) if request.deleted else ("active",),
            max_results=check_page_size(request.page_size),
            page_token=request.page_token,
        )
        run_ids, token = await self._run_search.search(caller, query)
        runs, done = await self._runs_that_fit(caller, run_ids)
        return run_pb2.SearchRunsResponse(
            runs=runs, next_page_token=token if done == len(run_ids) else self._run_search.token_after(query, done)
        )

    async def _runs_that_fit(self, caller: Caller, run_ids: Sequence[UUID]) -> tuple[list[run_pb2.Run], int]:
        """The first runs, as many as fit into a page, and how many of the ids they cover (deleted runs included)."""
        found: list[run_pb2.Run] = []
        size = 0
        for start in range(0, len(run_ids), _RUNS_PER_READ):
            part = run_ids[start : start + _RUNS_PER_READ]
            for run in map(_run, await self._runs.get_many(caller, part)):
                size += run.ByteSize()
                if found and size > _PAGE_BYTES:
                    return found, [run_id.hex for run_id in run_ids].index(run.run_id)
                found.append(run)
        return found, len(run_ids)

    async def FinishRun(self, request: run_pb2.FinishRunRequest, context: Context) -> run_pb2.FinishRunResponse:
        await self._runs.finish(
            caller_of(context),
            request.run_id,
            status=_STATUS_NAMES.get(request.status, "unknown"),
            end_time_unix_us=request.end_time_unix_us,
            attempt=request.attempt if request.HasField("attempt") else None,
        )
        return run_pb2.FinishRunResponse()

    async def LogParams(self, request: run_pb2.LogParamsRequest, context: Context) -> run_pb2.LogParamsResponse:
        await self._runs.log_params(caller_of(context), request.run_id, dict(request.params))
        return run_pb2.LogParamsResponse()

    async def SetTags(self, request: run_pb2.SetTagsRequest, context: Context) -> run_pb2.SetTagsResponse:
        await self._runs.set_tags(caller_of(context), request.run_id, dict(request.tags))
        return run_pb2.SetTagsResponse()

    async def DeleteRun(self, request: run_pb2.DeleteRunRequest, context: Context) -> run_pb2.DeleteRunResponse:
        await self._runs.delete(caller_of(context), request.run_id)
        return run_pb2.DeleteRunResponse()

    async def RestoreRun(self, request: run_pb2.RestoreRunRequest, context: Context) -> run_pb2.RestoreRunResponse:
        await self._runs.restore(caller_of(context), request.run_id)
        return run_pb2.RestoreRunResponse()

    async def MoveRun(self, request: run_pb2.MoveRunRequest, context: Context) -> run_pb2.MoveRunResponse:
        if not request.HasField("experiment_id"):
            raise InvalidField("experiment_id: name the experiment to move the run to", field="experiment_id")
        await self._run_moves.move(caller_of(context), request.run_id, request.experiment_id)
        return run_pb2.MoveRunResponse(run=_run(await self._runs.get(caller_of(context), request.run_id)))

    async def DeleteSeries(
        self, request: run_pb2.DeleteSeriesRequest, context: Context
    ) -> run_pb2.DeleteSeriesResponse:
        count = await self._runs.delete_series(caller_of(context), request.run_id, list(request.keys))
        return run_pb2.DeleteSeriesResponse(series_count=count)

    async def SetRetention(
        self, request: run_pb2.SetRetentionRequest, context: Context
    ) -> run_pb2.SetRetentionResponse:
        days = request.retention_days if request.HasField("retention_days") else None
        await self._experiments.set_retention(caller_of(context), request.experiment_id, days)
        return run_pb2.SetRetentionResponse()


def _experiment(experiment: Experiment) -> run_pb2.Experiment:
    return run_pb2.Experiment(
        experiment_id=experiment.experiment_id,
        name=experiment.name,
        lifecycle=f"LIFECYCLE_{experiment.lifecycle.upper()}",
        created_unix_us=to_unix_us(experiment.created_at),
        updated_unix_us=to_unix_us(experiment.updated_at),
        retention_days=experiment.retention_days,
    )


def _run(run: Run) -> run_pb2.Run:
    return run_pb2.Run(
        run_id=run.run_id.hex,
        experiment_id=run.experiment_id,
        experiment=run.experiment,
        name=run.name,
        status=f"RUN_STATUS_{run.status.upper()}",
        lifecycle=f"LIFECYCLE_{run.lifecycle.upper()}",
        user=run.user,
        start_time_unix_us=to_unix_us(run.started_at),
        end_time_unix_us=to_unix_us(run.ended_at) if run.ended_at else None,
        params=run.params,
        tags=run.tags,
    )
