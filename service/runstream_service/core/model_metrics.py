"""Metrics that runs log for logged models: a few per model, stored separately from the points of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runstream_service.core.names import check_text
from runstream_service.database.queries import load
from runstream_service.database.times import to_datetime
from runstream_service.errors.core import NotFound

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database

SQL = load("writes")

MAX_TEXT_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class NewModelMetric:
    """A metric of a model, perhaps on a dataset; without one, the texts are empty."""

    model_id: str
    key: str
    step: int
    time_unix_us: int
    value: float
    dataset_name: str
    dataset_digest: str


class ModelMetrics:
    """Stores metrics of logged models. Both methods also raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self, caller: Caller, metrics: Sequence[NewModelMetric]) -> None:
        """Raises NotFound if the model of any metric does not exist, InvalidField if a text is too long."""
        for metric in metrics:
            check_text(metric.model_id, field="model_id", max_characters=MAX_TEXT_CHARACTERS)
            check_text(metric.dataset_name, field="dataset_name", max_characters=MAX_TEXT_CHARACTERS)
            check_text(metric.dataset_digest, field="dataset_digest", max_characters=MAX_TEXT_CHARACTERS)
        asked = [metric.model_id for metric in metrics]
        found = {row["model_id"] for row in await self._database.fetch(SQL["find_models"], caller.workspace_id, asked)}
        for model_id in asked:
            if model_id not in found:
                raise NotFound(f"Logged model with ID '{model_id}' not found.", field="model_id", subject=model_id)

    async def log(self, run_id: UUID, metrics: Sequence[NewModelMetric]) -> None:
        """Stores metrics that `check` has accepted, unless they are stored already. Those of models that were deleted
        since the check are left out."""
        await self._database.execute(
            SQL["insert_model_metrics"],
            run_id,
            [metric.model_id for metric in metrics],
            [metric.key for metric in metrics],
            [metric.step for metric in metrics],
            [to_datetime(metric.time_unix_us, field="timestamp") for metric in metrics],
            [metric.value for metric in metrics],
            [metric.dataset_name for metric in metrics],
            [metric.dataset_digest for metric in metrics],
        )
