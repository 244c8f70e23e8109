"""Authentication by sessions of people who signed in with a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_service.auth.grants import Grants
from runstream_service.auth.lookup_cache import Found, LookupCache, caller_or_refusal
from runstream_service.auth.sessions import SIGN_IN_AGAIN, is_over
from runstream_service.auth.token_text import hash_of
from runstream_service.core.caller import Caller
from runstream_service.database.queries import load
from runstream_service.errors.core import Unauthenticated, WorkspaceNotFound

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.auth.authenticator import Credentials
    from runstream_service.database.pool import Database

SQL = load("access")

# The hash of the session's text, and the name of the workspace that the call asks for.
_Key = tuple[bytes, str]


class SessionAuthenticator:
    """Authenticates calls by sessions. Until `use` is called, calls fail with NotConnected."""

    def __init__(self) -> None:
        self._lookups = LookupCache(_look_up)

    def use(self, database: Database) -> None:
        """Looks sessions up in this database from now on."""
        self._lookups.use(database)

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Who calls; see Authenticator.authenticate."""
        return caller_or_refusal(await self._lookups.get((hash_of(credentials.session), credentials.workspace)))


async def _look_up(database: Database, key: _Key) -> Found:
    digest, workspace = key
    return _outcome_of(await database.fetchrow(SQL["find_session"], digest, workspace), workspace)


def _outcome_of(row: asyncpg.Record | None, workspace: str) -> Found:
    if row is None or is_over(row):
        return Unauthenticated(SIGN_IN_AGAIN)
    grants = Grants.of_json(row["grants"])
    role = grants.role_in(workspace)
    if role is None or row["workspace_id"] is None:
        return WorkspaceNotFound(
            f"no workspace {workspace[:80]!r} for {row['principal']}; choose another one at /signin/workspace",
            field="workspace",
            subject=workspace,
        )
    return Caller(
        workspace_id=row["workspace_id"],
        workspace=workspace,
        principal=row["principal"],
        role=role,
        token_id=row["token_id"],
        expires_at=row["expires_at"].timestamp(),
        others=grants.others(workspace),
    )
