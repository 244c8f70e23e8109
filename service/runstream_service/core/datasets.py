"""Inputs and outputs of runs: datasets and models. Datasets belong to experiments; many runs may read the same one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset, known in its experiment by name and digest."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """A dataset that a run read, with the tags of this use, such as training or evaluation."""

    dataset: Dataset
    tags: Mapping[str, str] = field(default_factory=dict)


class ModelOutput(NamedTuple):
    """A model that a run made, and at which step."""

    model_id: str
    step: int


class DatasetSummary(NamedTuple):
    """A dataset and a context in which runs of its experiment read it."""

    experiment_id: int
    name: str
    digest: str
    context: str | None
