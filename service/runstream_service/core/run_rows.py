"""The type of a stored run, and how it is made from rows of the queries in runs.sql."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from runstream_service.core import experiments
from runstream_service.core.datasets import Dataset, DatasetInput, ModelOutput
from runstream_service.core.rows import params_of, tags_of

if TYPE_CHECKING:
    import asyncpg


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A stored run. `status`: one of runs.STATUSES. `lifecycle`: `active` or `deleted`."""

    run_id: UUID
    experiment_id: int
    experiment: str
    name: str
    status: str
    lifecycle: str
    user: str
    started_at: datetime
    ended_at: datetime | None
    artifact_uri: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: tuple[DatasetInput, ...] = ()
    models_in: tuple[str, ...] = ()
    models_out: tuple[ModelOutput, ...] = ()


def run_of(row: asyncpg.Record) -> Run:
    """A run without its params, tags, inputs and outputs, which are in other tables."""
    return Run(**_fields(row))


def whole_run_of(row: asyncpg.Record) -> Run:
    """A run with its params, tags, inputs and outputs."""
    return Run(
        **_fields(row),
        params=params_of(row),
        tags=tags_of(row),
        datasets=tuple(map(_dataset_input, orjson.loads(row["datasets"]))) if row["datasets"] else (),
        models_in=tuple(row["models_in"]),
        models_out=tuple(map(ModelOutput, row["models_out"], row["model_steps"])),
    )


def _fields(row: asyncpg.Record) -> dict[str, Any]:
    below = f"{row['run_id'].hex}/artifacts"
    return {
        "run_id": row["run_id"],
        "experiment_id": row["experiment_id"],
        "experiment": row["experiment"],
        "name": row["name"],
        "status": row["status"],
        "lifecycle": row["lifecycle"],
        "user": row["user_name"],
        "started_at": row["started_at"],
        "ended_at": row["ended_at"],
        "artifact_uri": experiments.artifact_uri_below(row["artifact_location"], row["files_experiment_id"], below),
    }


def _dataset_input(stored: dict[str, Any]) -> DatasetInput:
    tags = stored.pop("tags")
    return DatasetInput(Dataset(**stored), tags)
