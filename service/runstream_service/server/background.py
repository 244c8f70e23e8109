"""Work that no caller waits for: roll-up, purge and retention, the end of silent runs. A replica does it once, however
many front ends it has; replicas agree by row locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_service.liveness.loop import LivenessLoop
from runstream_service.liveness.metrics import LivenessMetrics
from runstream_service.retention.loop import RetentionLoop
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.rollup.loop import RollupLoop, RollupOptions
from runstream_service.rollup.metrics import RollupMetrics
from runstream_service.server.lasting_tasks import LastingTasks

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from runstream_service.artifacts.store import ArtifactStore
    from runstream_service.database.pool import Database
    from runstream_service.server.front_ends import FrontEnds
    from runstream_service.server.settings import Settings


class Background:
    """The loops, from their construction until `stop`. They tell the front ends how many points wait for roll-up."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        registry: CollectorRegistry,
        artifacts: ArtifactStore,
        front_ends: FrontEnds,
    ) -> None:
        self.tasks = LastingTasks()
        options = RollupOptions(
            epoch_points=settings.epoch_points,
            epoch_seconds=settings.epoch_seconds,
            max_read_age_s=settings.max_read_age_s,
        )
        rollup = RollupLoop(database, RollupMetrics(registry), front_ends.gate, options)
        self.tasks.start("roll-up", rollup.run())
        retention = RetentionLoop(
            database, RetentionMetrics(registry), artifacts, purge_after_days=settings.purge_after_days
        )
        self.tasks.start("retention", retention.run())
        liveness = LivenessLoop(
            database,
            LivenessMetrics(registry),
            front_ends.streaming_runs,
            silent_after_s=settings.silent_run_after_s,
        )
        self.tasks.start("liveness", liveness.run())

    async def stop(self) -> None:
        """End the loops; another replica, or the next start, does again what was not committed."""
        await self.tasks.cancel()
