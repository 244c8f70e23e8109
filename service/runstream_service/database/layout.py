"""Where the two tables of points are: in one PostgreSQL, or distributed over the workers of a Citus cluster.

Each connection finds out when it is opened, and keeps the result as its `layout`. All differences are in Layout.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from runstream_service.errors.core import DatabaseUnavailable

if TYPE_CHECKING:
    from runstream_service.database.connections import Connection, PooledConnection

# The tables that are distributed, and the column that determines the worker of a row. So all segments of a series are
# on one worker, and all hot batches of a run are. All other tables stay on the coordinator.
DISTRIBUTED_TABLES: Mapping[str, str] = {"metric_segments": "series_id", "hot_batches": "run_id"}

_SETTLE_EVERY_S = 0.02
_SETTLE_WITHIN_S = 5.0


_RISKY = (
    "SELECT coalesce(string_agg(name, ' '), '') FROM pg_settings "
    "WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'"
)


class Layout:
    """The usual layout: one PostgreSQL has everything."""

    name: ClassVar[str] = "one PostgreSQL"
    session: ClassVar[Mapping[str, str]] = {}  # further settings of every session, written as PostgreSQL shows them
    # The bytes of the database, as an SQL expression.
    database_size: ClassVar[str] = "pg_database_size(current_database())"
    # Whether two transactions with the same snapshot see the same points.
    shares_snapshots: ClassVar[bool] = True
    # Whether savepoints and SET LOCAL may be sent in one string with a query.
    takes_statements_together: ClassVar[bool] = True

    async def settle(self, connection: Connection | PooledConnection) -> None:
        """Returns when all points that are committed now can be read. Raises DatabaseUnavailable if that takes more
        than 5 s."""

    async def risky_settings(self, connection: Connection | PooledConnection) -> str:
        """The names of settings that are off on any server although a crash may then lose commits; empty if there are
        none."""
        return ", ".join(sorted((await connection.fetchval(_RISKY)).split()))

    async def recover(self, connection: Connection) -> None:
        """Finishes transactions whose nodes died in the middle of their commit. Must not be called in a transaction."""


class DistributedLayout(Layout):
    """Points are on the workers of a Citus cluster, everything else is on its coordinator, which the service talks to.

    The nodes share no snapshot, and a commit does not show on all of them in the same moment: it is prepared on the
    workers, committed on the coordinator, then on the workers. If a worker or the coordinator dies in between, a
    transaction remains prepared, and its rows cannot be read until it is recovered.
    """

    name = "distributed"
    session: ClassVar[Mapping[str, str]] = {
        # One connection to each worker: its transaction has one snapshot, and small transactions stay cheap.
        "citus.max_adaptive_executor_pool_size": "1",
        # Limits of a transaction, such as its lock_timeout, hold on the workers, too.
        "citus.propagate_set_commands": "local",
        # Statements that create or drop tables may follow others in their transaction.
        "citus.multi_shard_modify_mode": "sequential",
        # Otherwise Citus checks for each row of pg_class whether it is a shard, to hide it. What the driver asks about
        # types then takes four seconds for every new connection.
        "citus.override_table_visibility": "off",
    }
    database_size = (
        "pg_database_size(current_database()) + "
        "(SELECT coalesce(sum(result::bigint) FILTER (WHERE success), 0)::bigint "
        "FROM run_command_on_workers($$SELECT pg_database_size(current_database())$$))"
    )
    shares_snapshots = False
    # For each SAVEPOINT and SET LOCAL, Citus sends the workers the whole string in which it came, queries included.
    # They refuse that, and the coordinator then waits for them in an endless loop that nothing ends but its restart.
    takes_statements_together = False

    async def settle(self, connection: Connection | PooledConnection) -> None:
        """Waits for the transactions that are prepared on a worker.

        What is committed on the coordinator is prepared on the workers before, so it is enough to wait for what is
        prepared now: later transactions, of which there are always some, do not matter.
        """
        deadline = time.monotonic() + _SETTLE_WITHIN_S
        waiting = await _prepared(connection)
        while waiting:
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(
                    f"{len(waiting)} transactions are still prepared on workers of the cluster, so their points "
                    f"cannot be read yet (pg_prepared_xacts has them): {', '.join(sorted(waiting)[:3])}"
                )
            await asyncio.sleep(_SETTLE_EVERY_S)
            waiting &= await _prepared(connection)

    async def risky_settings(self, connection: Connection | PooledConnection) -> str:
        """The names of such settings of the coordinator and of the workers."""
        off = set((await connection.fetchval(_RISKY)).split())
        for *_, success, result in await connection.fetch("SELECT * FROM run_command_on_workers($1)", _RISKY):
            off.update(result.split() if success else ())
        return ", ".join(sorted(off))

    async def recover(self, connection: Connection) -> None:
        """Citus does this automatically, but only once a minute: until then, acknowledged points could not be read."""
        await connection.fetchval("SELECT recover_prepared_transactions()")


ONE_POSTGRES = Layout()
DISTRIBUTED = DistributedLayout()

# Names of prepared transactions start with citus_, then come the group, the process and the number.
_PREPARED = """
SELECT nodename, nodeport, success, result
  FROM run_command_on_workers($command$
       SELECT coalesce(string_agg(gid, ' '), '') FROM pg_prepared_xacts
        WHERE database = current_database() AND gid LIKE 'citus\\_%'
       $command$)
"""


async def _prepared(connection: Connection | PooledConnection) -> set[str]:
    """The names of the transactions that are prepared on the workers, each with its worker."""
    names: set[str] = set()
    for worker, port, success, result in await connection.fetch(_PREPARED):
        if not success:
            raise DatabaseUnavailable(f"the worker {worker}:{port} of the cluster does not answer: {result}")
        names.update(f"{name}@{worker}:{port}" for name in result.split())
    return names


_HAS_CITUS = "SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
# `which` of our tables are distributed. A table is looked up by its name on the search path, as everywhere.
_DISTRIBUTED = """
SELECT coalesce(array_agg(t.name ORDER BY t.name), '{}')
  FROM unnest($1::text[]) AS t (name) JOIN pg_dist_partition p ON p.logicalrelid = to_regclass(t.name)
 WHERE p.partmethod = 'h'
"""


async def has_citus(connection: Connection | PooledConnection) -> bool:
    """Whether the database has the extension Citus."""
    return bool(await connection.fetchval(_HAS_CITUS))


async def distributed_tables(connection: Connection | PooledConnection) -> list[str]:
    """The names of DISTRIBUTED_TABLES that are distributed now."""
    if not await has_citus(connection):
        return []
    return list(await connection.fetchval(_DISTRIBUTED, list(DISTRIBUTED_TABLES)))


async def detect_layout(connection: Connection | PooledConnection) -> Layout:
    """The layout of the database of a new connection. One that is half distributed counts as distributed; the service
    refuses it (external.py), and only `runstream distribute` works on it."""
    return DISTRIBUTED if await distributed_tables(connection) else ONE_POSTGRES


async def missing_right(connection: Connection | PooledConnection) -> str:
    """The right that the user of the service lacks on a Citus cluster, with the statement that grants it; empty if none
    is missing."""
    if await connection.fetchval("SELECT has_function_privilege('recover_prepared_transactions()', 'EXECUTE')"):
        return ""
    user = await connection.fetchval("SELECT current_user")
    return (
        f"the user {user} may not call recover_prepared_transactions(), which is needed when a node of the cluster was "
        "restarted in the middle of a commit; as a superuser, on the coordinator, in this database, run "
        f"GRANT EXECUTE ON FUNCTION recover_prepared_transactions() TO {user}"
    )
