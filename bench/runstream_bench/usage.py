"""The cost of a load: processor time of the service and of its PostgreSQL, and the bytes that PostgreSQL writes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from runstream_service.database.pool import Database

# The embedded PostgreSQL is an 18, whose pg_stat_io has bytes. WAL is counted by its position, to the byte.
_WRITTEN = """
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 AS wal,
       (SELECT coalesce(sum(write_bytes), 0)::float8 FROM pg_stat_io WHERE object <> 'wal') AS pages
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage since the beginning, or between two readings."""

    service_cpu_s: float
    postgres_cpu_s: float
    wal_bytes: float
    page_bytes: float  # written to tables and indexes, which PostgreSQL puts off to its next checkpoint

    def since(self, before: Usage) -> Usage:
        """The usage between two readings."""
        return Usage(
            self.service_cpu_s - before.service_cpu_s,
            self.postgres_cpu_s - before.postgres_cpu_s,
            self.wal_bytes - before.wal_bytes,
            self.page_bytes - before.page_bytes,
        )

    def per_point(self, points: int) -> dict[str, float]:
        """Figures of the reports: CPU seconds per million points, bytes per point."""
        return {
            "service_cpu_s_per_million_points": self.service_cpu_s / points * 1e6,
            "postgres_cpu_s_per_million_points": self.postgres_cpu_s / points * 1e6,
            "wal_bytes_per_point": self.wal_bytes / points,
        }


class Meter:
    """Reads the usage of one service and one PostgreSQL, whose `postmaster` is a process of this machine."""

    def __init__(self, service: psutil.Process, postmaster: psutil.Process, database: Database) -> None:
        self._service = service
        self._postmaster = postmaster
        self._database = database

    async def read_settled(self) -> Usage:
        """Everything used so far, with a checkpoint, so that what was stored has been written."""
        await self._database.execute("CHECKPOINT")
        await self._database.execute("CHECKPOINT")  # what one wrote is reported before the next begins
        return await self.read()

    async def read(self) -> Usage:
        """Everything used so far."""
        written = await self._database.fetchrow(_WRITTEN)
        assert written is not None
        return Usage(cpu_seconds(self._service), postgres_cpu_seconds(self._postmaster), *written)


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def postgres_cpu_seconds(postmaster: psutil.Process) -> float:
    """CPU seconds of all processes of a PostgreSQL so far, including those that have ended."""
    total = sum(postmaster.cpu_times()[:4])  # its own, and that of its ended children
    for child in postmaster.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            total += cpu_seconds(child)
    return float(total)
