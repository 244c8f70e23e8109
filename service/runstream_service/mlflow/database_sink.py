"""The sink that the service writes to: PostgreSQL."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from uuid import UUID

from runstream_service.core.model_metrics import NewModelMetric
from runstream_service.ingest.http_writes import RunPoints

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_service.core.caller import Caller
    from runstream_service.core.model_metrics import ModelMetrics
    from runstream_service.core.runs import Runs
    from runstream_service.ingest.http_writes import HttpIngest
    from runstream_service.mlflow.metric_bodies import Metrics, ModelMetricRow


class DatabaseSink:
    """Implements Sink of run_writes.py."""

    def __init__(self, points: HttpIngest, of_models: ModelMetrics, runs: Runs) -> None:
        self._points = points
        self._of_models = of_models
        self._runs = runs

    async def check_models(self, caller: Caller, metrics: Metrics) -> None:
        """Raises NotFound if a metric names a model that does not exist."""
        await self._of_models.check(caller, [_of_model(metrics, metric) for metric in metrics.of_models])

    async def check_run(self, caller: Caller, run_id: UUID) -> None:
        """Raises RunNotFound or RunDeleted."""
        await self._points.check_run(caller, run_id)

    async def log_metrics(self, caller: Caller, run_id: UUID, metrics: Metrics, content: bytes) -> None:
        """Stores the points first, then the metrics of models. If the latter fails, so does the request; when its
        client repeats it, the points are recognised by their write id and not stored twice."""
        once = metrics.distinct()
        await self._points.write(
            caller,
            RunPoints(run_id, _write_id(run_id, content), once.key, once.step, once.timestamp_ms * 1_000, once.value),
        )
        if metrics.of_models:
            await self._of_models.log(run_id, [_of_model(metrics, metric) for metric in metrics.of_models])

    async def log_params(self, caller: Caller, run_id: UUID, params: Mapping[str, str]) -> None:
        """Raises ParamChanged, RunNotFound, RunDeleted."""
        await self._runs.log_params(caller, run_id.hex, params)

    async def set_tags(self, caller: Caller, run_id: UUID, tags: Mapping[str, str]) -> None:
        """Raises RunNotFound, RunDeleted."""
        await self._runs.set_tags(caller, run_id.hex, tags)


def _write_id(run_id: UUID, content: bytes) -> UUID:
    return UUID(bytes=hashlib.sha256(run_id.bytes + content).digest()[:16])


def _of_model(metrics: Metrics, metric: ModelMetricRow) -> NewModelMetric:
    row = metric.row
    return NewModelMetric(
        metric.model_id,
        metrics.key[row],
        int(metrics.step[row]),
        int(metrics.timestamp_ms[row]) * 1_000,
        float(metrics.value[row]),
        metric.dataset_name,
        metric.dataset_digest,
    )
