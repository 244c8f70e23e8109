"""What a database must fulfil so that the service can keep its promises. It is checked before anything is created or
changed in the database, and each message says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg

from runstream_service.database.connections import Connection
from runstream_service.errors.startup import StartupError

_MIGRATIONS_COLUMNS = {"version", "name", "when_text", "applied_at", "sha256"}
_CREATED = re.compile(
    r"^\s*CREATE (?:OR REPLACE )?(?:UNLOGGED )?(?:UNIQUE )?(?P<kind>TABLE|VIEW|SEQUENCE|INDEX|FUNCTION|TYPE) "
    r"(?:IF NOT EXISTS )?(?P<name>[a-z_0-9]+)",
    re.MULTILINE,
)

_SESSION = """
SELECT current_setting('server_encoding') AS encoding,
       current_setting('search_path') AS search_path,
       current_setting('session_replication_role') AS replication_role,
       current_database()::text AS database,
       current_user::text AS user_name,
       current_schema()::text AS schema,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create
"""
# Every table schema_migrations on the search path, in its order.
_MIGRATIONS_TABLES = """
SELECT n.nspname::text AS schema, array_agg(a.attname::text) AS columns
  FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, i)
  JOIN pg_namespace n ON n.nspname = path.name
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'schema_migrations'
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 GROUP BY path.i, n.nspname ORDER BY path.i
"""
_RELATIONS = """
SELECT c.relname::text AS name, pg_get_userbyid(c.relowner)::text AS owner,
       pg_has_role(c.relowner, 'USAGE') AS ours, c.relpersistence = 'u' AS unlogged
  FROM pg_class c
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
   AND (c.relname = ANY ($1::text[])
        OR EXISTS (SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
                    WHERE i.inhrelid = c.oid AND p.relname = 'hot_batches'
                      AND p.relnamespace = c.relnamespace))
 ORDER BY c.relname
"""
_TAKEN = """
SELECT 'relation' AS kind, relname::text AS name FROM pg_class
 WHERE relnamespace = current_schema()::regnamespace AND relname = ANY ($1::text[])
UNION ALL
SELECT 'type', typname::text FROM pg_type t
 WHERE typnamespace = current_schema()::regnamespace AND typname = ANY ($1::text[]) AND typrelid = 0
UNION ALL
SELECT 'function', proname::text FROM pg_proc
 WHERE pronamespace = current_schema()::regnamespace AND proname = ANY ($2::text[])
 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class OurNames:
    """The names of all objects that migrations create. Relations share one namespace, functions have another."""

    relations: frozenset[str]
    functions: frozenset[str]

    @classmethod
    def created_by(cls, statements: Iterable[str]) -> OurNames:
        """Collects the names from the CREATE statements of the migrations."""
        found = [(match["kind"], match["name"]) for sql in statements for match in _CREATED.finditer(sql)]
        relations = {name for kind, name in found if kind != "FUNCTION"} | {"schema_migrations"}
        return cls(frozenset(relations), frozenset(name for kind, name in found if kind == "FUNCTION"))


async def check(connection: Connection, names: OurNames) -> None:
    """Raises StartupError if the database is not suitable, before anything is created in it."""
    session = await connection.fetchrow(_SESSION)
    assert session is not None
    _check_session(session)
    tables = {row["schema"]: set(row["columns"]) for row in await connection.fetch(_MIGRATIONS_TABLES)}
    ours = [schema for schema, columns in tables.items() if columns >= _MIGRATIONS_COLUMNS]
    schema = session["schema"]
    if ours and ours[0] != schema:
        raise _refusal(
            f"the tables of runstream are in the schema {ours[0]}, but new ones would go into {schema}, which the "
            f"search_path {session['search_path']} has first; put {ours[0]} first (in the URL: "
            f"?options=-csearch_path%3D{ours[0]})"
        )
    if not ours:
        await _check_that_names_are_free(connection, names, session, tables)
    else:
        await _check_relations(connection, names, session)
    if not session["may_create"]:
        raise _refusal(
            f"the user {session['user_name']} may not create tables in the schema {schema}: "
            f"GRANT CREATE ON SCHEMA {schema} TO {session['user_name']}, or make it the owner of the database"
        )


def recovery_hint(error: BaseException) -> str:
    """What to do if an error means that a right was revoked while the service runs; empty for other errors."""
    if not isinstance(error, asyncpg.InsufficientPrivilegeError):
        return ""
    return (
        ". The user has lost a right that it needs: GRANT CREATE, USAGE on the schema of runstream's tables to it, and "
        "make it their owner or a member of the role that is (docs/operations.md, The database)"
    )


def _check_session(session: asyncpg.Record) -> None:
    if session["encoding"] != "UTF8":
        raise _refusal(
            f"the database has the encoding {session['encoding']}, in which most texts cannot be stored; runstream "
            "needs one with UTF8 (CREATE DATABASE runstream TEMPLATE template0 ENCODING 'UTF8')"
        )
    if session["schema"] is None:
        raise _refusal(
            f"no schema of the search_path {session['search_path']} exists, or the user {session['user_name']} may not "
            f"use it: CREATE SCHEMA, or GRANT USAGE, CREATE ON SCHEMA ... TO {session['user_name']}"
        )
    if session["replication_role"] != "origin":
        raise _refusal(
            f"session_replication_role is {session['replication_role']}, with which PostgreSQL checks no foreign key; "
            f"take it away (ALTER ROLE {session['user_name']} RESET session_replication_role, or ALTER DATABASE)"
        )


async def _check_that_names_are_free(
    connection: Connection, names: OurNames, session: asyncpg.Record, tables: dict[str, set[str]]
) -> None:
    """For the first start on a database: any object with one of our names was made by something else."""
    taken = await connection.fetch(_TAKEN, sorted(names.relations), sorted(names.functions))
    if not taken:
        return
    first, also = taken[0], f" and {len(taken) - 1} more" if len(taken) > 1 else ""
    mlflow = any(row["name"] == "experiments" for row in taken) and session["schema"] not in tables
    raise _refusal(
        f"the database has a {first['kind']} {first['name']}{also} that runstream did not make"
        + ("; is it that of an MLflow server?" if mlflow else ";")
        + " runstream needs a database of its own (CREATE DATABASE runstream), or a schema of its own (CREATE SCHEMA "
        "runstream; in the URL: ?options=-csearch_path%3Drunstream), and left this one as it was"
    )


async def _check_relations(connection: Connection, names: OurNames, session: asyncpg.Record) -> None:
    user = session["user_name"]
    for row in await connection.fetch(_RELATIONS, sorted(names.relations)):
        if not row["ours"]:
            owner = row["owner"]
            raise _refusal(
                f"{row['name']} belongs to {owner}, and the user {user} is not a member of that role, so it could not "
                f"make and drop partitions: GRANT {owner} TO {user}, or, where users change, let each of them work as "
                f"one owner (ALTER ROLE {user} SET role = {owner}; in the URL: ?options=-crole%3D{owner})"
            )
        if row["unlogged"]:
            raise _refusal(
                f"the table {row['name']} is unlogged: a crash of PostgreSQL empties it; ALTER TABLE {row['name']} SET "
                "LOGGED"
            )


def _refusal(message: str) -> StartupError:
    return StartupError(message, setting="--database")
