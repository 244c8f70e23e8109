"""Types for what is imported from another tracking server. importing/ reads it, imports.py stores it. Times are in
microseconds since 1970; 0 means that the time is not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runstream_service.core.model_versions import NewVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedExperiment:
    """An experiment of another server."""

    name: str
    created_unix_us: int = 0
    updated_unix_us: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedMetric:
    """A metric that a run logged for a logged model, perhaps on a dataset."""

    run_id: str
    key: str
    value: float
    time_unix_us: int
    step: int = 0
    dataset_name: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedModelFields:
    """The fields of a logged model, apart from its experiment. `status`: pending, ready or failed."""

    model_id: str
    name: str
    model_type: str = ""
    status: str = "ready"
    source_run_id: str = ""
    created_unix_us: int = 0
    updated_unix_us: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[ImportedMetric] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedModel(ImportedModelFields):
    """A logged model of another server, with the id of its experiment in this service."""

    experiment_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRegisteredModel:
    """A registered model of another server, without its versions."""

    name: str
    description: str = ""
    created_unix_us: int = 0
    updated_unix_us: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedVersion:
    """A version of a registered model of another server, with its number there."""

    of: NewVersion
    version: int
    stage: str = ""
    created_unix_us: int = 0
    updated_unix_us: int = 0
    aliases: Sequence[str] = ()
