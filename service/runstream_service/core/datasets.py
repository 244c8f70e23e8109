"""The types of inputs and outputs of runs: datasets and models. A dataset belongs to an experiment, and many runs may
read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset. Name and digest identify it in its experiment."""

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
    """A model that a run made, and the step at which it did."""

    model_id: str
    step: int


class DatasetSummary(NamedTuple):
    """A dataset, and a context (such as training) in which runs of its experiment read it."""

    experiment_id: int
    name: str
    digest: str
    context: str | None
