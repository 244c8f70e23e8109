"""The list of experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_service.concurrency import threads
from runstream_service.database.times import to_unix_us

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.core.experiment_activity import ActiveExperiment, ExperimentActivity
    from runstream_service.web.request import Empty


class ExperimentHandlers:
    """One method per route of routes.py."""

    def __init__(self, activity: ExperimentActivity) -> None:
        self._activity = activity

    async def list(self, caller: Caller, _message: Empty) -> dict[str, Any]:
        return {"experiments": await threads.call_each(_rendered, await self._activity.read(caller))}


def _rendered(found: ActiveExperiment) -> dict[str, Any]:
    return {
        "experiment_id": str(found.experiment_id),
        "name": found.name,
        "lifecycle": found.lifecycle,
        "run_count": found.run_count,
        "last_update_us": to_unix_us(found.updated_at),
        "retention_days": found.retention_days,
    }
