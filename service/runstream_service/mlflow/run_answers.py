"""One or thousands of runs with their latest metrics, in the form of MLflow's messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from runstream_service.concurrency import threads
from runstream_service.core.runs import NAME_TAG
from runstream_service.database.times import to_unix_us
from runstream_service.errors.core import RunNotFound
from runstream_service.mlflow.responses import numbers, pairs, without_unset
from runstream_service.query.mlflow_view.primary_series import read_primary_points

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.core.datasets import DatasetInput
    from runstream_service.core.run_rows import Run
    from runstream_service.core.runs import Runs
    from runstream_service.query.latest import Latest, LatestPoints

Answer = dict[str, Any]
MetricsByRun = dict[str, list[Answer]]

# How many runs of a page of thousands are read and rendered at a time.
_PORTION = 250


class RunAnswers:
    """Reads runs and renders them."""

    def __init__(self, runs: Runs, latest: Latest) -> None:
        self._runs = runs
        self._latest = latest

    async def get(self, caller: Caller, run_id: UUID) -> Answer:
        """A run in the form of MLflow's message Run.

        Raises:
            RunNotFound, ReadTooSlow, DatabaseUnavailable.
        """
        found = await self.get_many(caller, [run_id])
        if not found:
            raise RunNotFound(f"no run with id {run_id.hex}", field="run_id", subject=run_id.hex)
        return found[0]

    async def get_many(self, caller: Caller, run_ids: Sequence[UUID]) -> list[Answer]:
        """The runs with these ids in their order; missing ones are left out.

        Raises:
            ReadTooSlow, DatabaseUnavailable.
        """
        return _rendered(*await self._read(caller, run_ids))

    async def encode_many(self, caller: Caller, run_ids: Sequence[UUID]) -> orjson.Fragment | None:
        """The runs with these ids as a JSON array, encoded in portions in a thread; None if there are none.

        Raises:
            ReadTooSlow, DatabaseUnavailable.
        """
        portions = [run_ids[start : start + _PORTION] for start in range(0, len(run_ids), _PORTION)]
        encoded = [await threads.READS.run(_encoded, *await self._read(caller, portion)) for portion in portions]
        runs = b",".join(portion for portion in encoded if portion)
        return orjson.Fragment(b"[" + runs + b"]") if runs else None

    async def _read(self, caller: Caller, run_ids: Sequence[UUID]) -> tuple[list[Run], list[LatestPoints]]:
        return await asyncio.gather(
            self._runs.get_many(caller, run_ids),
            read_primary_points(self._latest, caller, [run_id.hex for run_id in run_ids]),
        )


def _encoded(runs: Sequence[Run], portions: Sequence[LatestPoints]) -> bytes:
    """Runs as items of a JSON array, without its brackets."""
    return orjson.dumps(_rendered(runs, portions))[1:-1]


def _rendered(runs: Sequence[Run], portions: Sequence[LatestPoints]) -> list[Answer]:
    metrics = rendered_metrics(portions)
    return [rendered_run(run, metrics.get(run.run_id.hex, [])) for run in runs]


def rendered_metrics(portions: Sequence[LatestPoints]) -> MetricsByRun:
    """The latest point of each metric in the form of MLflow's message Metric, by run id."""
    found: MetricsByRun = {}
    for points in portions:
        names = [found.setdefault(run_id, []) for run_id in points.run_ids]
        keys = points.keys
        for run, key, value, timestamp, step in zip(
            points.run_index.tolist(),
            points.key_index.tolist(),
            numbers(points.value),
            (points.time_unix_us // 1_000).tolist(),
            points.step.tolist(),
            strict=True,
        ):
            names[run].append({"key": keys[key], "value": value, "timestamp": timestamp, "step": step})
    return found


def rendered_run(run: Run, metrics: list[Answer]) -> Answer:
    """A run in the form of MLflow's message Run. It has inputs and outputs even if they are empty."""
    return {
        "info": rendered_info(run),
        "data": without_unset(metrics=metrics, params=pairs(run.params), tags=pairs({**run.tags, NAME_TAG: run.name})),
        "inputs": without_unset(
            dataset_inputs=[_rendered_input(item) for item in run.datasets],
            model_inputs=[{"model_id": model_id} for model_id in run.models_in],
        ),
        "outputs": without_unset(
            model_outputs=[{"model_id": out.model_id, "step": out.step} for out in run.models_out]
        ),
    }


def rendered_info(run: Run) -> Answer:
    """A run in the form of MLflow's message RunInfo."""
    run_id = run.run_id.hex
    return without_unset(
        run_uuid=run_id,
        run_id=run_id,
        run_name=run.name,
        experiment_id=str(run.experiment_id),
        user_id=run.user,
        status=run.status.upper(),
        start_time=to_unix_us(run.started_at) // 1_000,
        end_time=to_unix_us(run.ended_at) // 1_000 if run.ended_at else None,
        artifact_uri=run.artifact_uri,
        lifecycle_stage=run.lifecycle,
    )


def _rendered_input(item: DatasetInput) -> Answer:
    dataset = item.dataset
    rendered = without_unset(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        schema=dataset.schema or None,
        profile=dataset.profile or None,
    )
    return without_unset(tags=pairs(item.tags), dataset=rendered)
