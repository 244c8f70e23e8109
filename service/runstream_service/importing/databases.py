"""Reads SQLite and PostgreSQL through one interface: the rows of a SELECT, in pieces. Nothing is ever written."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from runstream_service.importing.source import SourceError

T = TypeVar("T")

PIECE_ROWS = 32_768
_BUSY_S = 60.0  # how long to wait while another process writes to an SQLite database

Row = tuple[Any, ...]


class SourceDatabase(Protocol):
    """A database that is only read. Statements have ? for parameters. `columns`, `rows` and `pieces` raise
    SourceError."""

    name: str  # for people, without a password
    directory: Path | None  # of the file, for SQLite

    def columns(self, table: str) -> set[str]:
        """The names of a table's columns; empty if it does not exist."""

    def rows(self, statement: str, *parameters: Any) -> list[Row]:
        """All rows."""

    def pieces(self, statement: str, *parameters: Any) -> Iterator[Sequence[Row]]:
        """The rows in pieces of PIECE_ROWS."""

    def close(self) -> None:
        """Closes connections."""


def open_database(url: str) -> SourceDatabase:
    """Opens the database at an SQLAlchemy URL, such as MLflow takes. Raises ValueError, OSError."""
    return _Sqlite(url) if url.lower().startswith("sqlite") else _Postgres(url)


class _Sqlite:
    """Has a connection for each thread, so that threads can read at the same time."""

    def __init__(self, url: str) -> None:
        _, separator, place = url.partition("://")
        path = unquote(place.removeprefix("/").partition("?")[0])
        if not separator or not place.startswith("/") or not path:
            raise ValueError(f"{url!r}: expected sqlite:///relative/path.db, or sqlite:////absolute/path.db")
        self._path = Path(path).resolve()
        if not self._path.is_file():
            raise ValueError(f"{url}: there is no file {self._path}")
        self.name = str(self._path)
        self.directory: Path | None = self._path.parent
        self._mine = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def columns(self, table: str) -> set[str]:
        return {row[1] for row in self.rows(f"PRAGMA table_info({table})")}

    def rows(self, statement: str, *parameters: Any) -> list[Row]:
        try:
            return self._connection().execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise SourceError(f"{self.name}: {error}") from error

    def pieces(self, statement: str, *parameters: Any) -> Iterator[Sequence[Row]]:
        try:
            cursor = self._connection().execute(statement, parameters)
            while rows := cursor.fetchmany(PIECE_ROWS):
                yield rows
        except sqlite3.Error as error:
            raise SourceError(f"{self.name}: {error}") from error

    def close(self) -> None:
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if found is None:
            found = sqlite3.connect(
                f"{self._path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_S, check_same_thread=False
            )
            self._mine.connection = found
            with self._lock:
                self._all.append(found)
        return found


class _Postgres:
    """Has a connection pool of asyncpg, and a thread with its event loop; other threads pass statements to it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.directory: Path | None = None
        self._url = urlunsplit(parts._replace(scheme="postgresql"))
        self.name = f"postgresql://{parts.hostname or ''}{parts.path}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="import-source", daemon=True)
        self._thread.start()
        try:
            self._pool: Any = self._run(self._open())
        except Exception as error:
            self._stop()
            raise ValueError(f"{self.name} cannot be opened: {error}") from error

    async def _open(self) -> Any:
        import asyncpg

        # No transaction spans statements: old rows do not change anyway, and MLflow's schema changes must not wait.
        settings = {"default_transaction_read_only": "on", "application_name": "runstream import"}
        return await asyncpg.create_pool(self._url, min_size=1, max_size=16, timeout=30, server_settings=settings)

    def columns(self, table: str) -> set[str]:
        statement = (
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_name = ? AND table_schema = ANY (current_schemas(false))"
        )
        return {row[0] for row in self.rows(statement, table)}

    def rows(self, statement: str, *parameters: Any) -> list[Row]:
        return [row for piece in self.pieces(statement, *parameters) for row in piece]

    def pieces(self, statement: str, *parameters: Any) -> Iterator[Sequence[Row]]:
        cursor = _Cursor(self._pool, _numbered(statement), parameters)
        try:
            while rows := self._run(cursor.fetch()):
                yield rows
        except Exception as error:
            raise SourceError(f"{self.name}: {error}") from error
        finally:
            self._run(cursor.close())

    def close(self) -> None:
        if self._loop.is_running():
            self._run(self._pool.close())
            self._stop()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Cursor:
    """A statement on its own connection; in a transaction, as a cursor of PostgreSQL needs."""

    def __init__(self, pool: Any, statement: str, parameters: Sequence[Any]) -> None:
        self._pool, self._statement, self._parameters = pool, statement, parameters
        self._connection: Any = None
        self._transaction: Any = None
        self._cursor: Any = None

    async def fetch(self) -> list[Row]:
        if self._cursor is None:
            self._connection = await self._pool.acquire()
            self._transaction = self._connection.transaction(readonly=True)
            await self._transaction.start()
            self._cursor = await self._connection.cursor(self._statement, *self._parameters)
        return await self._cursor.fetch(PIECE_ROWS)  # type: ignore[no-any-return]

    async def close(self) -> None:
        if self._connection is not None:
            try:
                if self._transaction is not None:
                    await self._transaction.rollback()
            finally:
                await self._pool.release(self._connection)
                self._connection = None


def _numbered(statement: str) -> str:
    """A statement with $1, $2 instead of ?. None of our statements has a ? in a string."""
    first, *rest = statement.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))
