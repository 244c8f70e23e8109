"""The types in which sources return what they have. Times are microseconds since 1970, or 0 if they are not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runstream_service.core.datasets import DatasetInput, ModelOutput
from runstream_service.core.imported import ImportedExperiment, ImportedModelFields, ImportedRegisteredModel
from runstream_service.database.metric_values import LARGEST

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceExperiment(ImportedExperiment):
    """An experiment; `source_id` is its id in the source."""

    source_id: str
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRun:
    """A run with its params and tags, without its points. `status` is in upper case; `name` may be empty."""

    run_id: str
    experiment_id: str  # in the source
    name: str = ""
    user: str = ""
    status: str = "FINISHED"
    start_unix_us: int = 0
    end_unix_us: int = 0
    deleted: bool = False
    artifact_uri: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()  # of its metrics, if the source returns them with the run
    datasets: Sequence[DatasetInput] = ()
    models_in: Sequence[str] = ()
    models_out: Sequence[ModelOutput] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceModel(ImportedModelFields):
    """A logged model."""

    experiment_id: str  # in the source
    deleted: bool = False
    artifact_uri: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceVersion:
    """A version of a registered model."""

    version: int
    source: str
    description: str = ""
    stage: str = "None"
    run_id: str = ""
    run_link: str = ""
    created_unix_us: int = 0
    updated_unix_us: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRegisteredModel(ImportedRegisteredModel):
    """A registered model with its versions; `aliases` has the version number of each alias."""

    aliases: Mapping[str, int] = field(default_factory=dict)
    versions: Sequence[SourceVersion] = ()


class SourceFile(NamedTuple):
    """An artifact file of a run or model: its path below their artifacts, and its size in bytes."""

    path: str
    size: int


class FileOwner(NamedTuple):
    """The run or model that has some files: `kind` is "run" or "model", and `uri` is where the source says that the
    files are."""

    kind: str
    owner_id: str
    uri: str


class Points(NamedTuple):
    """Points of one metric of a run in any order, as three columns of the same length."""

    run_id: str
    key: str
    steps: Integers
    times_unix_us: Integers
    values: Floats

    def __len__(self) -> int:
        return len(self.steps)


def finite_or_not(values: Floats, is_nan: NDArray[np.bool_] | None = None) -> Floats:
    """The values as they were logged, from those in a database of MLflow. There, NaN is in a separate column, and the
    infinities are stored as the largest and the smallest double."""
    if is_nan is not None and is_nan.any():
        values = np.where(is_nan, np.nan, values)
    far = np.abs(values) == LARGEST
    return np.where(far, np.copysign(np.inf, values), values) if far.any() else values


def unix_us(unix_ms: int | float | str | None) -> int:
    """Microseconds since 1970 from the milliseconds of MLflow; 0 for none."""
    return int(unix_ms) * 1_000 if unix_ms else 0
