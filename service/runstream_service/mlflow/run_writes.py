"""What is logged to a run: log-metric, log-batch, log-parameter, set-tag. Requests are checked here; a sink stores
them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from runstream_service.core.caller import Role
from runstream_service.errors.core import ParamChanged
from runstream_service.http.callers import caller_of
from runstream_service.http.json_responses import json_response
from runstream_service.http.mlflow_errors import invalid
from runstream_service.mlflow.metric_bodies import LogBatchBody, Metrics, read_log_batch, read_log_metric
from runstream_service.mlflow.params_and_tags import checked_param, checked_params, checked_tag, checked_tags
from runstream_service.mlflow.request import Pair, read_body
from runstream_service.mlflow.route_kinds import JsonRoute, RawRoute
from runstream_service.mlflow.run_ids import parse_run_id, parse_run_id_strictly
from runstream_service.mlflow.times import SecondsWarning

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_service.core.caller import Caller

MAX_METRICS, MAX_PARAMS, MAX_TAGS, MAX_ENTITIES = 1_000, 100, 100, 1_000


class Sink(Protocol):
    """Where the writes go: into the database in the service, into a journal in an agent. When a method returns, what it
    was passed is durable. Methods raise errors of errors/core.py, such as RunNotFound and RunDeleted."""

    async def check_models(self, caller: Caller, metrics: Metrics) -> None:
        """Raises an error if a metric names a model that does not exist; called before anything is stored."""

    async def check_run(self, caller: Caller, run_id: UUID) -> None:
        """Raises an error if the run does not exist or is deleted."""

    async def log_metrics(self, caller: Caller, run_id: UUID, metrics: Metrics, content: bytes) -> None:
        """Stores metrics, once even if the request is repeated: it is recognised by `content`, its body."""

    async def log_params(self, caller: Caller, run_id: UUID, params: Mapping[str, str]) -> None:
        """Stores params. Raises ParamChanged if one has another value already."""

    async def set_tags(self, caller: Caller, run_id: UUID, tags: Mapping[str, str]) -> None:
        """Sets tags, replacing earlier values."""


class LogParameter(Pair, kw_only=True):
    """runs/log-parameter."""

    run_id: str


class SetTag(Pair, kw_only=True):
    """runs/set-tag."""

    run_id: str


class WriteHandlers:
    """One method per route of `writes`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._seconds = SecondsWarning()

    async def log_metric(self, request: Request) -> Response:
        caller, content = caller_of(request), await read_body(request)
        body = await read_log_metric(content, request.headers.get("content-type", ""))
        run_id = parse_run_id(body.run_id)
        await self._check_models(caller, body.metrics)
        await self._log_metrics(caller, run_id, body.metrics, content)
        return json_response({})

    async def log_batch(self, request: Request) -> Response:
        """Checks everything before anything is stored. Then, as in MLflow, params, metrics and tags are stored one
        after the other. If one fails, the earlier ones stay stored, and the whole request may be repeated."""
        caller, content = caller_of(request), await read_body(request)
        body = await read_log_batch(content, request.headers.get("content-type", ""))
        run_id = parse_run_id_strictly(body.run_id)
        params, tags = _checked_pairs(body)
        await self._check_models(caller, body.metrics)
        if not params and not tags and not len(body.metrics):
            await self._sink.check_run(caller, run_id)
        if params:
            await self._sink.log_params(caller, run_id, params)
        if len(body.metrics):
            await self._log_metrics(caller, run_id, body.metrics, content)
        if tags:
            await self._sink.set_tags(caller, run_id, tags)
        return json_response({})

    async def log_parameter(self, caller: Caller, message: LogParameter) -> dict[str, Any]:
        key, value = checked_param(message)
        run_id = parse_run_id(message.run_id)
        try:
            await self._sink.log_params(caller, run_id, {key: value})
        except ParamChanged as error:
            stored = error.changes[0].stored
            raise invalid(
                f"Changing param values is not allowed. Param with key='{key}' was already logged with "
                f"value='{stored}' for run ID='{run_id.hex}'. Attempted logging new value '{value}'."
            ) from error
        return {}

    async def set_tag(self, caller: Caller, message: SetTag) -> dict[str, Any]:
        key, value = checked_tag(message)
        await self._sink.set_tags(caller, parse_run_id(message.run_id), {key: value})
        return {}

    async def _check_models(self, caller: Caller, metrics: Metrics) -> None:
        if metrics.of_models:
            await self._sink.check_models(caller, metrics)

    async def _log_metrics(self, caller: Caller, run_id: UUID, metrics: Metrics, content: bytes) -> None:
        self._seconds.check(run_id, int(metrics.timestamp_ms[-1]))
        await self._sink.log_metrics(caller, run_id, metrics, content)


def writes(handlers: WriteHandlers) -> tuple[JsonRoute | RawRoute, ...]:
    """The lines of these handlers in the table of routes."""
    return (
        RawRoute("POST", "2.0/mlflow/runs/log-metric", Role.WRITE, handlers.log_metric),
        RawRoute("POST", "2.0/mlflow/runs/log-batch", Role.WRITE, handlers.log_batch),
        JsonRoute("POST", "2.0/mlflow/runs/log-parameter", Role.WRITE, LogParameter, handlers.log_parameter),
        JsonRoute("POST", "2.0/mlflow/runs/set-tag", Role.WRITE, SetTag, handlers.set_tag),
    )


def _checked_pairs(body: LogBatchBody) -> tuple[dict[str, str], dict[str, str]]:
    """The params and the tags of a batch. Raises MlflowError, also if the batch has too many metrics, params or
    tags."""
    counts = (len(body.metrics), len(body.params), len(body.tags))
    for what, limit, count in (
        ("metrics", MAX_METRICS, counts[0]),
        ("params", MAX_PARAMS, counts[1]),
        ("tags", MAX_TAGS, counts[2]),
        ("metrics, params, and tags", MAX_ENTITIES, sum(counts)),
    ):
        if count > limit:
            raise invalid(
                f"A batch logging request can contain at most {limit} {what}. Got {count} {what}. Please split up "
                f"{what} across multiple requests and try again."
            )
    return checked_params(body.params), checked_tags(body.tags)
