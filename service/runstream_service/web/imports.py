"""What `runstream import` needs beyond the other APIs: it creates objects with the times and ids of their source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from runstream_service.core.imported import (
    ImportedExperiment,
    ImportedMetric,
    ImportedModel,
    ImportedRegisteredModel,
    ImportedVersion,
)
from runstream_service.core.model_versions import NewVersion
from runstream_service.errors.core import InvalidField
from runstream_service.web.request import Message

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.core.imports import Imports

Answer = dict[str, Any]

_NOT_FINITE = ("NaN", "Infinity", "-Infinity")

Tags = Annotated[dict[str, str], Meta(max_length=1_000)]


class _WithTimes(Message, kw_only=True):
    """Fields that all of these messages have. A time of 0 means that it is not known."""

    name: str
    created_unix_us: int = 0
    updated_unix_us: int = 0
    tags: Tags = msgspec.field(default_factory=dict)


class ImportExperiment(_WithTimes):
    """POST import/experiments."""


class MetricOfModel(Message, kw_only=True):
    """A metric in import/logged-models. `value` is a number, or the text NaN, Infinity or -Infinity."""

    run_id: str
    key: str
    value: float | str
    time_unix_us: int
    step: int = 0
    dataset_name: str = ""
    dataset_digest: str = ""


class ImportModel(_WithTimes, kw_only=True):
    """POST import/logged-models."""

    model_id: str
    experiment_id: Annotated[str, Meta(pattern="^[0-9]{1,18}$")]
    model_type: str = ""
    status: str = "ready"
    source_run_id: str = ""
    params: Tags = msgspec.field(default_factory=dict)
    metrics: Annotated[tuple[MetricOfModel, ...], Meta(max_length=1_000)] = ()


class ImportRegisteredModel(_WithTimes):
    """POST import/registered-models."""

    description: str = ""


class ImportVersion(_WithTimes, kw_only=True):
    """POST import/model-versions. `name` is that of the registered model."""

    version: int
    source: str
    description: str = ""
    stage: str = "None"
    run_id: str | None = None
    model_id: str | None = None
    run_link: str = ""
    aliases: Annotated[tuple[str, ...], Meta(max_length=1_000)] = ()


class ImportHandlers:
    """One method per route of routes.py."""

    def __init__(self, imports: Imports) -> None:
        self._imports = imports

    async def experiment(self, caller: Caller, message: ImportExperiment) -> Answer:
        new = ImportedExperiment(**_times_and_tags(message))
        experiment, created = await self._imports.experiment(caller, new)
        return {
            "experiment_id": str(experiment.experiment_id),
            "name": experiment.name,
            "artifact_location": experiment.artifact_location,
            "tags": experiment.tags,
            "created": created,
        }

    async def logged_model(self, caller: Caller, message: ImportModel) -> Answer:
        new = ImportedModel(
            **_times_and_tags(message),
            model_id=message.model_id,
            experiment_id=int(message.experiment_id),
            model_type=message.model_type,
            status=message.status,
            source_run_id=message.source_run_id,
            params=message.params,
            metrics=[_metric(one) for one in message.metrics],
        )
        model, created = await self._imports.logged_model(caller, new)
        return {
            "experiment_id": str(model.experiment_id),
            "name": model.name,
            "status": model.status,
            "artifact_uri": model.artifact_uri,
            "params": model.params,
            "tags": model.tags,
            "metrics": len(model.metrics),
            "created": created,
        }

    async def registered_model(self, caller: Caller, message: ImportRegisteredModel) -> Answer:
        new = ImportedRegisteredModel(**_times_and_tags(message), description=message.description)
        return {"created": await self._imports.registered_model(caller, new)}

    async def model_version(self, caller: Caller, message: ImportVersion) -> Answer:
        new = ImportedVersion(
            of=NewVersion(
                name=message.name,
                source=message.source,
                run_id=message.run_id,
                model_id=message.model_id,
                run_link=message.run_link,
                description=message.description,
                tags=message.tags,
            ),
            version=message.version,
            stage=message.stage,
            created_unix_us=message.created_unix_us,
            updated_unix_us=message.updated_unix_us,
            aliases=message.aliases,
        )
        version, created = await self._imports.model_version(caller, new)
        return {
            "source": version.source,
            "run_id": version.run_id,
            "stage": version.stage,
            "tags": version.tags,
            "aliases": version.aliases,
            "created": created,
        }


def _times_and_tags(message: _WithTimes) -> dict[str, Any]:
    return {
        "name": message.name,
        "created_unix_us": message.created_unix_us,
        "updated_unix_us": message.updated_unix_us,
        "tags": message.tags,
    }


def _metric(message: MetricOfModel) -> ImportedMetric:
    return ImportedMetric(
        run_id=message.run_id,
        key=message.key,
        step=message.step,
        time_unix_us=message.time_unix_us,
        value=_value(message.value),
        dataset_name=message.dataset_name,
        dataset_digest=message.dataset_digest,
    )


def _value(value: float | str) -> float:
    if isinstance(value, float):
        return value
    if value not in _NOT_FINITE:
        raise InvalidField(
            f"metrics: the value {value[:40]!r} is neither a number nor one of {', '.join(_NOT_FINITE)}",
            field="metrics",
        )
    return float(value)
