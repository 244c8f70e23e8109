"""Migrates a database's schema to what this code needs: ordered SQL files, each applied once, in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import asyncpg
import structlog

from runstream_service.database import requirements
from runstream_service.database.connections import Connection
from runstream_service.database.definitions import Definition, packaged_definitions, with_definitions
from runstream_service.database.pool import Database, translated
from runstream_service.database.requirements import OurNames
from runstream_service.errors.startup import StartupError

log = structlog.get_logger()

FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")
FIRST_LINE = re.compile(r"-- when: (before|after)\s*")
# Held while a replica migrates, so that replicas that start at the same time do it one after the other. Any constant
# will do that no other program uses in this database.
ADVISORY_LOCK = 1920298866

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version int PRIMARY KEY,
    name text NOT NULL,
    when_text text NOT NULL CHECK (when_text IN ('before', 'after')),
    applied_at timestamptz NOT NULL DEFAULT now(),
    sha256 text NOT NULL
)
"""


# How long a migration waits for a lock, and then pauses, so that statements that wait behind it can run.
_LOCK_TIMEOUT_S, _LOCK_PAUSE_S = 2, 5.0
_OLDEST_TRANSACTION = """
SELECT pid, coalesce(nullif(application_name, ''), 'no name') AS application
  FROM pg_stat_activity
 WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
 ORDER BY xact_start
 LIMIT 1
"""

# Errors whose cause is in the database, not in runstream: missing rights, or names that are used for something else.
_REFUSALS = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.DuplicateTableError,
    asyncpg.DuplicateObjectError,
    asyncpg.DuplicateFunctionError,
    asyncpg.InvalidFunctionDefinitionError,
    asyncpg.InvalidTableDefinitionError,
    asyncpg.WrongObjectTypeError,
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `when`: it may run before (expand) or only after (contract) the code that needs it.

    The previous release has to run on the result of a `before` migration, since replicas of both releases run during an
    upgrade, and an upgrade may be rolled back.

    `sql` is the text of the file. `statements` is what runs: that text, with the functions and views that it installs.
    """

    version: int
    name: str
    when: str
    sql: str
    statements: str

    @property
    def sha256(self) -> str:
        """The fingerprint of the file. The file has the fingerprints of the definitions that it installed when it was
        written."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def packaged_migrations() -> list[Migration]:
    """The migrations of this release, in order."""
    folder = resources.files(__package__) / "migrations"
    return parse_migrations(
        {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".sql")},
        packaged_definitions(),
    )


def parse_migrations(files: Mapping[str, str], definitions: Mapping[str, Definition] | None = None) -> list[Migration]:
    """The migrations in files (name -> text), in order. Raises ValueError, a bug of this release, if a name or a first
    line is wrong, a version is missing, or a current definition is not installed."""
    migrations = []
    by_number: dict[str, str] = {}
    in_order = sorted(files.items())
    statements = with_definitions([sql for _, sql in in_order], definitions or {})
    for (file_name, sql), statements_of_file in zip(in_order, statements, strict=True):
        name, first_line = FILE_NAME.fullmatch(file_name), FIRST_LINE.fullmatch(sql.partition("\n")[0])
        if name is None or first_line is None:
            raise ValueError(f"{file_name}: must be NNNN_name.sql and begin with `-- when: before` or `-- when: after`")
        if (other := by_number.setdefault(name[1], file_name)) != file_name:
            raise ValueError(f"{other} and {file_name} have the same number; the one that came later takes the next")
        migrations.append(Migration(int(name[1]), name[2], first_line[1], sql, statements_of_file))
    if [migration.version for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError(f"migration versions must run from 1 without gaps: {sorted(files)}")
    return migrations


async def migrate(database: Database, migrations: list[Migration] | None = None) -> int:
    """Applies missing migrations; returns the version of the database after that. Several replicas may call it at once.

    Raises:
        StartupError: a newer release has removed something from the database (an `after` migration), it was migrated by
        files that have changed since, or it is not suitable (requirements.py).
        DatabaseUnavailable.
    """
    known = packaged_migrations() if migrations is None else migrations
    connection = await database.connect_migration()
    try:
        with translated():
            return await _migrate(connection, known)
    finally:
        connection.terminate()  # with its lock


async def _migrate(connection: Connection, known: list[Migration]) -> int:
    # Waits here for another replica that is migrating.
    await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
    await requirements.check(connection, OurNames.created_by(migration.statements for migration in known))
    await connection.execute(CREATE_TABLE)
    applied = await connection.fetch("SELECT version, name, when_text, sha256 FROM schema_migrations ORDER BY version")
    _compare(applied, known)
    for migration in known[len(applied) :]:
        await _apply(connection, migration)
    return max(len(known), len(applied))


def _compare(applied: list[asyncpg.Record], known: list[Migration]) -> None:
    """Checks that this release can run with the migrations that the database has. Raises StartupError."""
    newer = applied[len(known) :]
    if taken_away := [row for row in newer if row["when_text"] != "before"]:
        raise StartupError(
            f"the database has schema version {applied[-1]['version']}, this runstream knows only {len(known)}, and "
            f"{taken_away[0]['version']:04}_{taken_away[0]['name']} removed what older releases need; "
            "run the newer release, or restore a backup from before the upgrade",
            setting="--database",
        )
    for row, migration in zip(applied, known, strict=False):
        if (row["version"], row["sha256"]) != (migration.version, migration.sha256):
            raise StartupError(
                f"migration {row['version']:04}_{row['name']} was applied with other content than this runstream has; "
                "the database was made by another build",
                setting="--database",
            )
    if newer:
        log.warning(
            "The database has migrations of a newer release, which this one runs with",
            action="database_newer",
            version=applied[-1]["version"],
            known=len(known),
        )


async def _apply(connection: Connection, migration: Migration) -> None:
    """Runs one file and records it, in one transaction. Tries again while another session has a lock that it needs."""
    try:
        while not await _applied(connection, migration):  # noqa: ASYNC110 - PostgreSQL has no event for it
            await asyncio.sleep(_LOCK_PAUSE_S)
    except _REFUSALS as error:
        raise StartupError(
            f"the database refuses migration {migration.version:04}_{migration.name}, of which nothing was done: "
            + " ".join(str(error).split()),  # one line, also where PostgreSQL adds a hint
            setting="--database",
        ) from error
    log.info(
        f"Applied migration {migration.version:04}_{migration.name}",
        action="migration_applied",
        version=migration.version,
        name=migration.name,
    )


async def _applied(connection: Connection, migration: Migration) -> bool:
    """Tries a migration once; returns whether it was applied. It gives up after a short wait for a lock, since later
    statements wait behind it: a report that reads a view for an hour would otherwise stop all other readers of the
    view."""
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'")
            await connection.execute(migration.statements)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, when_text, sha256) VALUES ($1, $2, $3, $4)",
                migration.version,
                migration.name,
                migration.when,
                migration.sha256,
            )
    except asyncpg.LockNotAvailableError as error:
        oldest = await connection.fetchrow(_OLDEST_TRANSACTION)
        who = f"; the oldest transaction is that of session {oldest['pid']} ({oldest['application']})" if oldest else ""
        log.warning(
            f"Migration {migration.version:04}_{migration.name} waits for a lock that another session has{who}. Trying "
            "it again; end that session if it is not needed: SELECT pg_terminate_backend(its number)",
            action="migration_blocked",
            version=migration.version,
            pid=oldest["pid"] if oldest else None,
            error=str(error),
        )
        return False
    return True
