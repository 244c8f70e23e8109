"""What `runstream gc` does: purge and retention, once, and the deletion of files that nothing refers to any more. It
connects to the database itself; the service may be running or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client import CollectorRegistry

from runstream_service.artifacts.store import ArtifactStore
from runstream_service.database.external import open_at_once
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.orphans import Orphan, Orphans
from runstream_service.retention.purge import Purge, PurgeResult, Waiting
from runstream_service.retention.purged_files import PurgedFiles
from runstream_service.retention.retention import Retention, RetentionResult

T = TypeVar("T")


@dataclass(slots=True)
class GcResult:
    """What was deleted, what waits for roll-up, how many paths the service still has to delete, and the errors by
    step."""

    purged: PurgeResult = field(default_factory=PurgeResult)
    expired: RetentionResult = field(default_factory=RetentionResult)
    waiting: Waiting = field(default_factory=Waiting)
    files_waiting: int = 0
    failures: dict[str, Exception] = field(default_factory=dict)


async def collect(url: str, *, purge_after_days: int) -> GcResult:
    """Runs one round of purge and one of retention. If one fails, the other runs nevertheless.

    Raises:
        StartupError: the URL is wrong, or the database is not suitable.
        DatabaseUnavailable: the database does not answer.
    """
    database = await open_at_once(url, max_size=2)
    try:
        done = GcResult()
        metrics = RetentionMetrics(CollectorRegistry())
        purge = Purge(database, metrics, purge_after_days=purge_after_days)
        done.purged = await _tried("purge", purge.run_once(), done.purged, done.failures)
        done.expired = await _tried("retention", Retention(database, metrics).run_once(), done.expired, done.failures)
        done.waiting = await purge.waiting()
        done.files_waiting = await database.fetchval(PurgedFiles.COUNT)
        return done
    finally:
        await database.close()


async def _tried(name: str, work: Awaitable[T], otherwise: T, failures: dict[str, Exception]) -> T:
    try:
        return await work
    except Exception as error:
        failures[name] = error
        return otherwise


async def orphans(url: str, location: str, *, delete: bool) -> AsyncIterator[Orphan]:
    """Yields directories of files that nothing in the database refers to. With `delete`, files that purge has recorded
    are deleted first, and then each directory before it is yielded.

    Raises:
        StartupError: a setting is wrong.
        CoreError: the database or the store does not answer.
    """
    store = ArtifactStore.open(location)
    database = await open_at_once(url, max_size=2)
    try:
        if delete:
            await PurgedFiles(database, store).run_once()
        async for orphan in Orphans(database, store).find():
            if delete:
                await store.delete(orphan.path)
            yield orphan
    finally:
        await database.close()
