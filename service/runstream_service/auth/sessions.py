"""Sessions of people who signed in with a browser."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runstream_service.auth.grants import ANY, Grants
from runstream_service.auth.token_text import hash_of
from runstream_service.core import audit
from runstream_service.core.caller import DEFAULT_WORKSPACE, Caller, Role
from runstream_service.database.queries import load
from runstream_service.errors.core import Forbidden, Unauthenticated

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.database.pool import Database, PooledConnection

SQL = load("access")

_RANDOM_BYTES = 32

SIGN_IN_AGAIN = "you are signed out, or your session is over: sign in again, at /signin"


@dataclass(frozen=True, slots=True)
class Person:
    """A person, or a service account, that has proved its identity, and what it may do. `token_id` is set if it proved
    it with a token of this service."""

    principal: str
    grants: Grants
    token_id: int | None = None

    @classmethod
    def of(cls, caller: Caller) -> Person:
        """The person who called with a token: what the token may do."""
        where = ANY if caller.role is Role.ADMIN else caller.workspace
        return cls(caller.principal, Grants({where: caller.role}), caller.token_id)


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that was just made. Its text is kept by the person's browser alone; the database has a hash of it."""

    text: str = field(repr=False)
    workspaces: Sequence[str]  # names of those that the person may enter, the default one first


class Sessions:
    """The sessions of people, each of which lasts `session_s` seconds. All methods also raise DatabaseUnavailable."""

    def __init__(self, database: Database, *, session_s: float) -> None:
        self._database = database
        self._session_s = session_s

    async def create(self, person: Person, **details: Any) -> NewSession:
        """Signs a person in. `details` are for the audit log.

        Raises:
            Forbidden: none of the workspaces that they may enter exists.
        """
        text = secrets.token_urlsafe(_RANDOM_BYTES)
        async with self._database.transaction() as connection:
            workspaces = await _existing(connection, person.grants)
            if not workspaces:
                raise Forbidden(
                    f"you are {person.principal}, who may enter no workspace here; ask the operator of this service"
                )
            await connection.execute(
                SQL["insert_session"],
                hash_of(text),
                person.token_id,
                person.principal,
                person.grants.to_json(),
                self._session_s,
            )
            # In the audit log of the workspace, if there is only one; else only admins see it.
            (where, *others) = workspaces.values()
            await audit.record_of(
                connection, None if others else where, person.principal, "signed_in", person.principal, **details
            )
        return NewSession(text, tuple(workspaces))

    async def workspaces_of(self, text: str) -> Sequence[str]:
        """Names of the workspaces that the person of a session may enter, the default one first. `text` is the text of
        the session. Raises Unauthenticated."""
        row = await self._database.fetchrow(SQL["find_session"], hash_of(text), "")
        if row is None or is_over(row):
            raise Unauthenticated(SIGN_IN_AGAIN)
        return tuple(await _existing(self._database, Grants.of_json(row["grants"])))

    async def end(self, text: str) -> bool:
        """Signs a person out; it is no error if they were not signed in. Returns whether they had signed in at a
        provider, where they may want to sign out, too."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SQL["delete_session"], hash_of(text))
            if row is not None:
                await audit.record_of(connection, None, row["principal"], "signed_out", row["principal"])
        return row is not None and row["token_id"] is None


def is_over(row: asyncpg.Record) -> bool:
    """Whether a session (a row of the database) has expired, or the token that it was made with was revoked."""
    return bool(row["revoked_at"]) or row["expires_at"] <= row["now"]


async def _existing(database: Database | PooledConnection, grants: Grants) -> Mapping[str, int]:
    """The ids of the workspaces that exist and may be entered, by name, the default one first."""
    rows = await database.fetch(SQL["list_workspaces"], grants.names())
    return dict(
        sorted(((row["name"], row["workspace_id"]) for row in rows), key=lambda one: one[0] != DEFAULT_WORKSPACE)
    )
