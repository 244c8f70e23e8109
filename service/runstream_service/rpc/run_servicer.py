"""RunService: decodes, calls the core, encodes. Errors become statuses in the interceptor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from runstream.v1 import run_pb2, run_pb2_grpc
from runstream_service.core.runs import Launch, NewRun
from runstream_service.core.times import to_unix_us
from runstream_service.rpc.caller import caller_of

if TYPE_CHECKING:
    from runstream_service.core.experiments import Experiment, Experiments
    from runstream_service.core.runs import Run, Runs

Context = grpc.aio.ServicerContext[Any, Any]

_STATUS_NAMES: dict[int, str] = {
    number: name.removeprefix("RUN_STATUS_").lower() for name, number in run_pb2.RunStatus.items()
}


class RunServicer(run_pb2_grpc.RunServiceServicer):
    """One method per RPC; their contract is in run.proto."""

    def __init__(self, experiments: Experiments, runs: Runs) -> None:
        self._experiments = experiments
        self._runs = runs

    async def CreateExperiment(
        self, request: run_pb2.CreateExperimentRequest, context: Context
    ) -> run_pb2.CreateExperimentResponse:
        experiment, created = await self._experiments.create(caller_of(context), request.name)
        return run_pb2.CreateExperimentResponse(experiment=_experiment(experiment), created=created)

    async def GetExperiment(
        self, request: run_pb2.GetExperimentRequest, context: Context
    ) -> run_pb2.GetExperimentResponse:
        selector = request.WhichOneof("selector")
        given = {selector: getattr(request, selector)} if selector else {}
        experiment = await self._experiments.get(caller_of(context), **given)
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
