"""Reads the status from the database: of the replicas that are connected to it, of their data, and of the database
itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from runstream_service.database.external import open_at_once
from runstream_service.database.migrate import packaged_migrations
from runstream_service.database.queries import load
from runstream_service.database.replica import ReplicaId
from runstream_service.errors.core import CoreError, NotConnected, NotFound
from runstream_service.errors.startup import StartupError
from runstream_service.rollup.measurements import measure_backlog, measure_sizes
from runstream_service.stores.segment_store import SegmentStore

if TYPE_CHECKING:
    from runstream_service.database.pool import Database, PooledConnection

T = TypeVar("T")

SQL = load("status")

# Most pages of segments that are read to estimate the number of points: 16 MB, about 15 million points.
_SAMPLED_PAGES = 2_000


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """The PostgreSQL server that takes writes. `schema_version` is the number of the last migration that was applied,
    `schema_version_known` that of the last one that this runstream has. Without `synchronous_standby_names`, a failover
    may lose points that were acknowledged."""

    version: str
    answered_ms: float
    synchronous_standby_names: str
    schema_version: int
    schema_version_known: int
    connections: int
    max_connections: int


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A process of the service: since when it is connected, and its number of connections."""

    host: str
    pid: int
    version: str
    connected_since: datetime
    connections: int


@dataclass(frozen=True, slots=True)
class EpochStatus:
    """The epoch that is open, with the time and number of its points; the last one that reads take from segments
    (`visible`); and the last one whose hot partitions were dropped (`dropped`)."""

    open: int
    opened_at: datetime
    points: int
    visible: int
    dropped: int


@dataclass(frozen=True, slots=True)
class SilentProducer:
    """The rank of a running run that has committed nothing for the longest time, or never since `opened_at`. A client
    reopens its stream every --max-connection-age: a stream that was not reopened belongs to a process that is gone."""

    run_id: str
    run_name: str
    experiment: str
    rank: int
    attempt: int
    silent_s: float
    committed_at: datetime | None
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class ProducerStatus:
    """Ranks of running runs; `heard` is the number of them that committed something in the last minute."""

    runs: int
    producers: int
    heard: int
    silent_longest: SilentProducer | None


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that holds the embedded PostgreSQL."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """The whole status, at the time `at` of the database. `disk` is None for an external PostgreSQL. `points_stored` is
    estimated from a sample of the segments unless `points_exact`. Parts that could not be read are None, and `unread`
    has the reasons by the name of the part."""

    at: datetime
    database: DatabaseStatus | None
    replicas: list[ReplicaStatus] | None
    points_last_minute: int | None
    rollup_lag_points: int | None
    rollup_lag_s: float | None
    epoch: EpochStatus | None
    points_stored: int | None
    points_exact: bool | None
    database_bytes: int | None
    hot_bytes: int | None
    segments_bytes: int | None
    disk: Disk | None
    producers: ProducerStatus | None
    unread: dict[str, str]


async def collect(url: str, data_dir: Path | None) -> Status:
    """Reads the status from the database at `url`; `data_dir` is the data directory of an embedded one, else None.

    Raises:
        DatabaseUnavailable: the database does not answer.
        StartupError: it has no tables of runstream.
    """
    database = await open_at_once(url, max_size=1)
    try:
        at: datetime = await database.fetchval("SELECT now()")
        return await _collect(_Parts(database), data_dir, at)
    finally:
        await database.close()


class _Parts:
    """Reads the parts of the status one after the other. If one fails, because of a lock or a missing privilege, only
    that one is left out; `failures` has the reasons by the name of the part."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.failures: dict[str, str] = {}

    async def read(self, part: str, ask: Callable[[PooledConnection], Awaitable[T]]) -> T | None:
        """The result of `ask`, or None if the part cannot be read.

        Raises:
            NotConnected: the database does not answer, so no part can be read.
            StartupError: it has no tables of runstream.
        """
        try:
            async with self._database.snapshot() as connection:
                return await ask(connection)
        except (StartupError, NotConnected):
            raise
        except Exception as error:  # any error: the other parts may help an operator to find the cause
            self.failures[part] = error.message if isinstance(error, CoreError) else str(error) or repr(error)
            return None


async def _collect(parts: _Parts, data_dir: Path | None, at: datetime) -> Status:
    server = await parts.read("database", _server)
    replicas = await parts.read("replicas", _replicas)
    ingest = await parts.read("ingest", _points_last_minute)
    backlog = await parts.read("roll-up", measure_backlog)
    epoch = await parts.read("epochs", _epoch)
    in_segments, exact = await parts.read("stored", _points_in_segments) or (None, None)
    sizes = await parts.read("on disk", measure_sizes)
    producers = await parts.read("producers", _producers)
    disk = None if data_dir is None else await parts.read("disk", lambda _: _disk(data_dir))
    return Status(
        at=at,
        database=server,
        replicas=replicas,
        points_last_minute=ingest,
        rollup_lag_points=backlog.points if backlog else None,
        rollup_lag_s=round(backlog.age_s, 3) if backlog else None,
        epoch=epoch,
        points_stored=None if in_segments is None or backlog is None else in_segments + backlog.points,
        points_exact=exact,
        database_bytes=sizes.database if sizes else None,
        hot_bytes=sizes.hot if sizes else None,
        segments_bytes=sizes.segments if sizes else None,
        disk=disk,
        producers=producers,
        unread=parts.failures,
    )


async def _server(connection: PooledConnection) -> DatabaseStatus:
    asked = time.perf_counter()
    try:
        row = await connection.fetchrow(SQL["database"])
    except asyncpg.UndefinedTableError as error:
        raise StartupError(
            "the database answers, but has no tables of runstream: no service was ever started on it",
            setting="--database",
        ) from error
    answered_ms = (time.perf_counter() - asked) * 1_000
    assert row is not None
    return DatabaseStatus(
        version=row["version"],
        answered_ms=round(answered_ms, 3),
        synchronous_standby_names=row["synchronous_standby_names"],
        schema_version=row["schema_version"],
        schema_version_known=len(packaged_migrations()),
        connections=row["connections"],
        max_connections=row["max_connections"],
    )


async def _replicas(connection: PooledConnection) -> list[ReplicaStatus]:
    kinds: dict[ReplicaId, list[asyncpg.Record]] = {}
    for row in await connection.fetch(SQL["connections"]):
        if (replica := ReplicaId.parse(row["application_name"])) is not None:
            kinds.setdefault(replica, []).append(row)
    found = [
        ReplicaStatus(
            replica.host,
            replica.pid,
            replica.version,
            min(row["since"] for row in rows),
            sum(row["connections"] for row in rows),
        )
        for replica, rows in kinds.items()
    ]
    return sorted(found, key=lambda replica: (replica.host, replica.pid))


async def _points_last_minute(connection: PooledConnection) -> int:
    points: int = await connection.fetchval(SQL["ingest"])
    return points


async def _epoch(connection: PooledConnection) -> EpochStatus:
    row = await connection.fetchrow(SQL["epoch"])
    if row is None:
        raise NotFound("no epoch is open; a running service opens one within seconds")
    return EpochStatus(row["epoch"], row["opened_at"], row["points"], row["visible_epoch"], row["dropped_epoch"])


async def _points_in_segments(connection: PooledConnection) -> tuple[int, bool]:
    """The number of points in segments, and whether it is exact."""
    store = SegmentStore(connection)
    share = min(1.0, _SAMPLED_PAGES / max(1, await store.pages()))
    points = await store.points_in_sample(100 * share)
    return round(points / share), share == 1.0


async def _producers(connection: PooledConnection) -> ProducerStatus:
    row = await connection.fetchrow(SQL["producers"])
    if row is None:
        return ProducerStatus(0, 0, 0, None)
    now: datetime = await connection.fetchval("SELECT now()")
    silent = SilentProducer(
        run_id=row["run_id"].hex,
        run_name=row["run_name"],
        experiment=row["experiment"],
        rank=row["rank"],
        attempt=row["attempt"],
        silent_s=round((now - row["heard_at"]).total_seconds(), 3),
        committed_at=row["committed_at"],
        opened_at=row["opened_at"],
    )
    return ProducerStatus(row["runs"], row["producers"], row["heard"], silent)


async def _disk(data_dir: Path) -> Disk:
    usage = shutil.disk_usage(data_dir)
    return Disk(usage.total, usage.free)
