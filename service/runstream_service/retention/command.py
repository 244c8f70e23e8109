"""`runstream gc`: purge and retention now, on the database itself, a given one or that of a running service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from prometheus_client import CollectorRegistry

from runstream_service.cannot_start import CannotStart
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.purge import Purge, Purged
from runstream_service.retention.retention import Expired, Retention
from runstream_service.storage.cluster import read_postmaster
from runstream_service.storage.database import Database
from runstream_service.storage.embedded import DATABASE


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


def url_of_running(data_dir: Path) -> str:
    """How to reach the embedded PostgreSQL of a service that runs on a directory. Raises CannotStart."""
    postmaster = read_postmaster(data_dir.expanduser().resolve() / "postgres")
    if postmaster is None or postmaster.socket_directory is None or postmaster.status != "ready":
        raise CannotStart(
            f"no PostgreSQL runs in {data_dir}; start the service there, or give --database",
            setting="--data-dir",
            example="./runstream-data",
        )
    host = quote(str(postmaster.socket_directory), safe="")
    return f"postgresql://postgres@/{DATABASE}?host={host}&port={postmaster.port}"
