"""Imports from other tracking servers: `runstream import`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from runstream_service.core.imports import ImportedExperiment
from runstream_service.web.request import Message

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.core.imports import Imports

Answer = dict[str, Any]

Tags = Annotated[dict[str, str], Meta(max_length=1_000)]


class ImportExperiment(Message):
    """import/experiments. A time of 0 is not known."""

    name: str
    created_unix_us: int = 0
    updated_unix_us: int = 0
    tags: Tags = msgspec.field(default_factory=dict)


class ImportHandlers:
    """One method a route of routes.py."""

    def __init__(self, imports: Imports) -> None:
        self._imports = imports

    async def experiment(self, caller: Caller, message: ImportExperiment) -> Answer:
        new = ImportedExperiment(
            name=message.name,
            created_unix_us=message.created_unix_us,
            updated_unix_us=message.updated_unix_us,
            tags=message.tags,
        )
        experiment, created = await self._imports.experiment(caller, new)
        return {
            "experiment_id": str(experiment.experiment_id),
            "name": experiment.name,
            "artifact_location": experiment.artifact_location,
            "tags": experiment.tags,
            "created": created,
        }
