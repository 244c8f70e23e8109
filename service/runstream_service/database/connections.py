"""Opens connections to PostgreSQL, with the settings of their sessions and the timeouts of their statements.

Settings are made by a statement after connecting, not by startup parameters: a pooler refuses or drops parameters that
it does not know, and a session would then run without durable commits and without timeouts. A second statement reads
the settings back, so that a connection that does not keep them is never used.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
from asyncpg.transaction import Transaction

from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.database.layout import detect_layout
from runstream_service.errors.core import DatabaseUnsuitable

if TYPE_CHECKING:
    from runstream_service.database.failover import Servers
    from runstream_service.database.layout import Layout

    # Generic only in the stubs.
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    PooledConnection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = PooledConnection = Pool = Any

CONNECT_TIMEOUT_S = 10.0
# The driver waits this much longer than the server lets a statement run. So the server's clear error comes first; the
# driver's timeout is for an answer that was lost on the way, which the server does not notice.
ANSWER_MARGIN_S = 5.0

# A peer that vanished without closing the connection is noticed after 10 + 3 x 5 seconds on an idle connection, and
# after 20 seconds when data waits for its acknowledgement. The server does the same on its side.
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_COUNT = 10, 5, 3
_UNACKNOWLEDGED_MS = 20_000

# For every session, whatever ALTER ROLE and ALTER DATABASE say. Values are written as PostgreSQL shows them, because
# they are compared with its output.
_COMMON: Mapping[str, str] = {
    "synchronous_commit": "on",
    "lock_timeout": "10s",
    "idle_session_timeout": "0",
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "default_table_access_method": "heap",
    "standard_conforming_strings": "on",
}
# Exists since PostgreSQL 17. Not needed: single statements and idle transactions have limits of their own.
_COMMON_17: Mapping[str, str] = {"transaction_timeout": "0"}
# These are not read back: on a unix socket they stay 0.
_OF_THE_SOCKET: Mapping[str, str] = {
    "tcp_keepalives_idle": str(_KEEPALIVE_IDLE_S),
    "tcp_keepalives_interval": str(_KEEPALIVE_INTERVAL_S),
    "tcp_keepalives_count": str(_KEEPALIVE_COUNT),
    "tcp_user_timeout": str(_UNACKNOWLEDGED_MS),
}


@dataclass(frozen=True, slots=True)
class ConnectionKind:
    """The purpose of a connection. `settings` are further settings of its session, written as PostgreSQL shows them.
    `resets`: whether the pool resets the session at each release, which takes a round trip."""

    name: str
    statement_timeout_s: int
    settings: Mapping[str, str] = field(default_factory=dict)
    resets: bool = True

    @property
    def answer_timeout_s(self) -> float:
        """How long the driver waits for the answer to a statement, COPY with all its data included."""
        return self.statement_timeout_s + ANSWER_MARGIN_S

    def session(self, server_version: int) -> dict[str, str]:
        """The settings of a session of this kind that are read back after they were made."""
        return {
            **_COMMON,
            **(_COMMON_17 if server_version >= 17 else {}),
            "statement_timeout": _shown(self.statement_timeout_s),
            **self.settings,
        }


def _shown(seconds: int) -> str:
    """A time as PostgreSQL shows it, in the largest unit that divides it: 7200 s are "2h"."""
    for unit, name in ((3_600, "h"), (60, "min")):
        if seconds % unit == 0:
            return f"{seconds // unit}{name}"
    return f"{seconds}s"


POOL = ConnectionKind("runstream", 60, {"idle_in_transaction_session_timeout": "1min"})
# Of the reader thread. Its statements change nothing beyond their transaction (SET LOCAL).
READER = ConnectionKind(POOL.name, POOL.statement_timeout_s, POOL.settings, resets=False)
# It reads no tables. With the role of the user that logged in, it sees the sessions of that user (suspects.py).
PING = ConnectionKind("runstream-ping", 10, {"idle_in_transaction_session_timeout": "1min", "role": "none"})
# commit_notifier.py. Its only transactions are NOTIFY. They are hints, and need not wait for a disk.
NOTIFIER = ConnectionKind("runstream-notifier", 10, {"synchronous_commit": "off"})
# The timeouts are short because a frozen replica must not keep locks on ledger rows or on an epoch.
WRITER = ConnectionKind("runstream-writer", 30, {"idle_in_transaction_session_timeout": "15s"})
# Roll-up reads and writes millions of rows in a transaction. JIT compilation of its few statements costs more than it
# saves. Apart from COPY, its statements are look-ups by key, some thousand keys at a time. With missing or outdated
# statistics, the planner would read whole tables for that (merging 100,000 series then took ten times as long).
ROLLUP = ConnectionKind(
    "runstream-rollup",
    120,
    {
        "idle_in_transaction_session_timeout": "1min",
        "jit": "off",
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_hashagg": "off",
        "max_parallel_workers_per_gather": "0",
    },
)
# A migration may rewrite a large table, or wait for another replica's.
MIGRATION = ConnectionKind(
    "runstream-migration", 6 * 3_600, {"lock_timeout": "0", "idle_in_transaction_session_timeout": "1min"}
)

# The server_start_id stands for one run of one server process. After a restart, a failover or a restore, the state of
# the database may be older than before.
_IDENTITY = (
    "SELECT extract(epoch FROM pg_postmaster_start_time())::text AS server_start_id, pg_backend_pid() AS backend_pid, "
    "ARRAY(SELECT current_setting(name) FROM unnest($1::text[]) WITH ORDINALITY AS n (name, i) ORDER BY i) AS shown"
)


class OurTransaction(Transaction):
    """A transaction that sends no ROLLBACK after a timeout, as it would wait for another answer. The pool rolls back,
    or closes the connection, within some seconds of its release."""

    async def __aexit__(self, kind: Any, error: object, traceback: object) -> None:
        if not isinstance(error, TimeoutError) and not isinstance(getattr(error, "__cause__", None), TimeoutError):
            await super().__aexit__(kind, error, traceback)


class OurConnection(asyncpg.Connection):
    """A connection that knows the server_start_id of its server and the layout of its database, and keeps its settings
    when the pool resets it."""

    __slots__ = ("backend_pid", "layout", "resets", "server_start_id", "session_sql")
    layout: Layout
    server_start_id: str
    backend_pid: int
    session_sql: str
    resets: bool

    def get_reset_query(self) -> str:
        """Called by the pool. RESET ALL restores the settings of ALTER ROLE and ALTER DATABASE, so our own follow
        it."""
        return f"{super().get_reset_query()}\n{self.session_sql}" if self.resets else ""

    def transaction(self, *, isolation: Any = None, readonly: bool = False, deferrable: bool = False) -> Transaction:
        """Like asyncpg's method, for use in `async with`."""
        return OurTransaction(self, isolation, readonly, deferrable)


async def open_connection(servers: Servers, kind: ConnectionKind, application_name: str) -> OurConnection:
    """A connection to the server that takes writes, ready for use.

    Raises:
        DatabaseUnsuitable: the connection does not keep its settings.
        TimeoutError, OSError, asyncpg.PostgresError: no connection was possible.
    """
    connection = await servers.connect(application_name, OurConnection, answer_timeout_s=kind.answer_timeout_s)
    try:
        _watch_socket(connection)
        await _begin_session(connection, kind)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _begin_session(connection: OurConnection, kind: ConnectionKind) -> None:
    connection.layout = await with_timeout(detect_layout(connection), CONNECT_TIMEOUT_S)
    wanted = {**kind.session(connection.get_server_version().major), **connection.layout.session}
    connection.resets = kind.resets
    everything = {**_OF_THE_SOCKET, **wanted}
    connection.session_sql = "".join(f"SET {name} = '{value}';" for name, value in everything.items())
    await connection.execute(connection.session_sql, timeout=CONNECT_TIMEOUT_S)
    found = await connection.fetchrow(_IDENTITY, list(wanted), timeout=CONNECT_TIMEOUT_S)
    assert found is not None
    connection.server_start_id, connection.backend_pid = found["server_start_id"], found["backend_pid"]
    for (name, value), shown in zip(wanted.items(), found["shown"], strict=True):
        if shown != value:
            raise DatabaseUnsuitable(
                f"{name} was set to {value!r} and is {shown!r} in the next statement: between the service and "
                "PostgreSQL there is something that does not keep sessions, such as a connection pooler in transaction "
                "mode. Give the address of PostgreSQL itself, or of a pooler in session mode"
            )


def _watch_socket(connection: OurConnection) -> None:
    """Lets the kernel notice when the other side is gone, since the driver does not check for it.

    Raises ConnectionError if the connection was lost already.
    """
    sock = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # the driver has no other way
    if sock is not None and sock.fileno() < 0:
        raise ConnectionError("the connection was lost at once")
    if sock is None or sock.family == socket.AF_UNIX:
        return
    options: list[tuple[int, str, int]] = [
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        (socket.IPPROTO_TCP, "TCP_KEEPALIVE", _KEEPALIVE_IDLE_S),  # its name on macOS
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", _KEEPALIVE_COUNT),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _UNACKNOWLEDGED_MS),
    ]
    for level, name, value in options:
        if (option := getattr(socket, name, None)) is not None:
            with contextlib.suppress(OSError):  # this system does not support the option
                sock.setsockopt(level, option, value)
