"""Work that no caller waits for: roll-up, purge, retention, and the end of silent runs. It runs once in a replica,
however many front ends that has. Row locks keep two replicas from doing the same work at the same time."""

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
    """Loops that run from construction until `stop`. Roll-up reports to the front ends how many points wait for it."""

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
        """Ends the loops. What they had not committed is done by another replica, or after the next start."""
        await self.tasks.cancel()
