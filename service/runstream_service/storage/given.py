"""Connects to a database that somebody else runs: waits for it as long as that can help, and checks its version."""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from runstream_service.cannot_start import CannotStart
from runstream_service.core.errors import DatabaseUnavailable
from runstream_service.deadline import Deadline
from runstream_service.storage.database import Database
from runstream_service.storage.replica import ReplicaId

log = structlog.get_logger()

OLDEST_POSTGRES = 14

# Waiting does not change these.
_HOPELESS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


async def open_given(url: str, *, pool_size: int, wait_s: float, replica: ReplicaId) -> Database:
    """The database at a URL. Raises CannotStart."""
    database = await _wait_for(url, pool_size, Deadline(wait_s), replica)
    version_number = int(await database.fetchval("SHOW server_version_num"))
    if version_number < OLDEST_POSTGRES * 10_000:
        await database.close()
        raise CannotStart(
            f"the server is PostgreSQL {version_number // 10_000}; {OLDEST_POSTGRES} or newer is needed",
            setting="--database",
        )
    return database


async def _wait_for(url: str, pool_size: int, deadline: Deadline, replica: ReplicaId) -> Database:
    while True:
        try:
            return await Database.open(url, max_size=pool_size, replica=replica)
        except DatabaseUnavailable as error:
            hopeless = isinstance(error.__cause__, _HOPELESS)
            if hopeless or not deadline.left_s():
                raise _no_database(error.message) from error
            log.warning("Waiting for the database", action="database_awaited", error=error.message)
        except (ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise _no_database(str(error)) from error
        await asyncio.sleep(min(1.0, deadline.left_s()))


def _no_database(why: str) -> CannotStart:
    return CannotStart(
        f"cannot connect: {why}", setting="--database", example="postgresql://user:password@host:5432/runstream"
    )
