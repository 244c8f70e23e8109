"""`runstream gc`: purge and retention now, on the database itself, a given one or that of a running service."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.purge import Purge, Purged
from runstream_service.retention.retention import Expired, Retention
from runstream_service.storage.database import Database


@dataclass(frozen=True, slots=True)
class Collected:
    """What was deleted, and what waits for roll-up."""

    purged: Purged
    expired: Expired
    series_waiting: int
    runs_waiting: int


async def collect(url: str, *, purge_after_days: int) -> Collected:
    """One round of each. Raises DatabaseUnavailable."""
    database = await Database.open(url, max_size=2)
    try:
        metrics = RetentionMetrics(CollectorRegistry())
        purge = Purge(database, metrics, purge_after_days=purge_after_days)
        purged = await purge.round()
        expired = await Retention(database, metrics).round()
        series, runs = await purge.waiting()
        return Collected(purged, expired, series, runs)
    finally:
        await database.close()
