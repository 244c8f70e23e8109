"""Connects to a PostgreSQL that a URL names: waits until it answers, and checks that it is suitable."""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from runstream_service.concurrency.deadlines import Deadline
from runstream_service.database import layout, pooler, tls
from runstream_service.database.database_url import DatabaseUrl
from runstream_service.database.pool import Database, layout_of
from runstream_service.database.replica import ReplicaId
from runstream_service.errors.core import DatabaseUnavailable, DatabaseUnsuitable
from runstream_service.errors.startup import StartupError

log = structlog.get_logger()

OLDEST_POSTGRES = 14
EXAMPLE = "postgresql://user:password@host:5432/runstream"

# Errors that waiting does not cure. A pooler reports a protocol violation for parameters that it does not know.
_HOPELESS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ProtocolViolationError,
)


async def open_external(url: str, *, pool_size: int, wait_s: float, replica: ReplicaId) -> Database:
    """Connect the service to the database at a URL. Waits up to `wait_s` seconds until it answers.

    Raises:
        StartupError: the URL is wrong, the database does not answer, or it is not suitable.
    """
    database = await wait_for_database(url, pool_size=pool_size, wait_s=wait_s, replica=replica)
    try:
        await _check_version(database)
        await pooler.check(database)
        await _check_layout(database)
        await _warn_of_lost_writes(database)
    except DatabaseUnsuitable as error:
        await database.close(within_s=1.0)
        raise _no_database(error.message) from error
    except BaseException:
        await database.close(within_s=1.0)
        raise
    if ignored := DatabaseUrl.parse(url).ignored:
        log.warning(
            f"Parameters of the database's URL have no effect here: {', '.join(ignored)}",
            action="database_url_parameters_ignored",
            parameters=ignored,
        )
    return database


async def open_at_once(url: str, *, max_size: int) -> Database:
    """The database at a URL, for a command that does its work and ends: it does not wait for the database.

    Raises:
        StartupError: something is wrong with the URL or with the server behind it.
        DatabaseUnavailable: the database does not answer.
    """
    try:
        return await Database.open(url, max_size=max_size)
    except DatabaseUnavailable as error:
        if _is_hopeless(error):
            raise _no_database(error.message) from error
        if isinstance(error.__cause__, OSError):
            raise DatabaseUnavailable(_where_and_what_to_check(error.message, url)) from error
        raise
    except (ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _no_database(str(error)) from error


def _where_and_what_to_check(message: str, url: str) -> str:
    """The message with addresses, for operators. Messages that callers of the service may see have none."""
    servers = ", ".join(map(str, DatabaseUrl.parse(url).servers)) or "the driver's default address"
    return (
        f"{message} (asked: {servers}). Check the host and port of the URL, that PostgreSQL runs there, that its "
        "listen_addresses has this address, and that no firewall is in between"
    )


async def wait_for_database(url: str, *, pool_size: int, wait_s: float, replica: ReplicaId) -> Database:
    """Connect to the database at a URL, without checks. Waits up to `wait_s` seconds until it answers. Raises
    StartupError."""
    deadline = Deadline(wait_s)
    while True:
        try:
            return await Database.open(url, max_size=pool_size, replica=replica)
        except DatabaseUnavailable as error:
            if _is_hopeless(error):
                raise _no_database(error.message) from error
            if not deadline.left_s():
                raise _no_database(error.message, exit_code=1) from error
            log.warning("Waiting for the database", action="database_awaited", error=error.message)
        except (ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise _no_database(str(error)) from error
        await asyncio.sleep(min(1.0, deadline.left_s()))


def _is_hopeless(error: DatabaseUnavailable) -> bool:
    cause = error.__cause__
    if isinstance(error, DatabaseUnsuitable) or isinstance(cause, _HOPELESS):
        return True
    return cause is not None and tls.explain_failure(cause) is not None


async def _check_version(database: Database) -> None:
    version_number = int(await database.fetchval("SHOW server_version_num"))
    if version_number < OLDEST_POSTGRES * 10_000:
        raise StartupError(
            f"the server is PostgreSQL {version_number // 10_000}; {OLDEST_POSTGRES} or newer is needed",
            setting="--database",
        )


async def _check_layout(database: Database) -> None:
    """Refuses a database that is half distributed, or where commits could not be finished after a crash."""
    async with database.acquire() as connection:
        distributed = await layout.distributed_tables(connection)
        if not distributed:
            return
        if waiting := sorted(layout.DISTRIBUTED_TABLES.keys() - distributed):
            raise StartupError(
                f"{distributed[0]} is distributed over the workers of the cluster, and {waiting[0]} is not: `runstream "
                "distribute` was interrupted; run it again, then start the service",
                setting="--database",
            )
        if missing := await layout.missing_right(connection):
            raise StartupError(missing, setting="--database")


async def _warn_of_lost_writes(database: Database) -> None:
    """Warns of settings that are not durable. It is not an error, as a test may want them."""
    async with database.acquire() as connection:
        off = await layout_of(connection).risky_settings(connection)
    if off:
        log.warning(
            f"PostgreSQL runs with {off} off: when its machine crashes, acknowledged points may be lost, and the "
            "database may be damaged",
            action="database_not_durable",
            off=off,
        )


def _no_database(why: str, *, exit_code: int = 2) -> StartupError:
    message = f"cannot connect: {' '.join(why.split())}"
    return StartupError(message, setting="--database", example=EXAMPLE, exit_code=exit_code)
