"""Authentication by tokens that the service made. What was looked up about a token is remembered for two seconds, so
most calls need no query. The tokens of open streams are checked again every two seconds. So a token that is revoked
ends within five seconds, on all replicas."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import structlog

from runstream_service.auth.lookup_cache import Found, LookupCache, caller_or_refusal
from runstream_service.auth.token_text import PREFIX, hash_of, is_token
from runstream_service.core.caller import DEFAULT_WORKSPACE, DEFAULT_WORKSPACE_ID, Caller, Role
from runstream_service.database.queries import load
from runstream_service.errors.core import CoreError, Retryable, Unauthenticated, WorkspaceNotFound

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.auth.authenticator import Credentials
    from runstream_service.database.pool import Database

SQL = load("access")

log = structlog.get_logger()

# Together with REMEMBERED_S of lookup_cache.py, less than the five seconds within which a revoked token ends.
CHECK_EVERY_S = 2.0

# The hash of the token, and the name of the workspace that the call asks for.
_Key = tuple[bytes, str]


class TokenAuthenticator:
    """Implements Authenticator for tokens. Until `use` is called, calls fail with NotConnected."""

    def __init__(self) -> None:
        self._database: Database | None = None
        self._lookups = LookupCache(_look_up)
        self._watched: dict[int, set[Callable[[CoreError], None]]] = {}

    def use(self, database: Database) -> None:
        """Looks tokens up in this database from now on."""
        self._database = database
        self._lookups.use(database)

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Who calls; see Authenticator.authenticate."""
        text = credentials.token
        if not text:
            raise Unauthenticated(
                "this service needs a token: put it in RUNSTREAM_TOKEN, or in MLFLOW_TRACKING_TOKEN for MLflow. A "
                "manager of your workspace makes one with: runstream token create"
            )
        if not is_token(text):
            raise Unauthenticated(_what_is_wrong_with(text))
        return caller_or_refusal(await self._lookups.get((hash_of(text), credentials.workspace)))

    @contextlib.contextmanager
    def watching(self, caller: Caller, end: Callable[[CoreError], None]) -> Iterator[None]:
        """Calls `end` when the token of a stream has ended; see Authenticator.watching."""
        if caller.token_id is None:
            yield
            return
        ends = self._watched.setdefault(caller.token_id, set())
        ends.add(end)
        try:
            yield
        finally:
            ends.discard(end)
            if not ends and self._watched.get(caller.token_id) is ends:
                del self._watched[caller.token_id]

    async def run(self) -> None:
        """Ends streams whose tokens have been revoked or have expired. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            if not self._watched:
                continue
            try:
                await self._recheck_streams()
            except Retryable as error:
                # No harm: while the database does not answer, no token can be revoked either.
                log.debug(
                    "Could not check the tokens of open streams", action="tokens_not_checked", error=error.message
                )

    async def _recheck_streams(self) -> None:
        assert self._database is not None, "streams are opened with a database"
        for row in await self._database.fetch(SQL["ended_tokens"], list(self._watched)):
            error = _ended(row)
            self._lookups.forget()  # a stream that is ended may be opened again at once
            for end in list(self._watched.get(row["token_id"], ())):
                end(error)


async def _look_up(database: Database, key: _Key) -> Found:
    digest, workspace = key
    return _outcome_of(await database.fetchrow(SQL["find_token"], digest, workspace), workspace)


def _outcome_of(row: asyncpg.Record | None, asked: str) -> Found:
    if row is None:
        return Unauthenticated("this token is not known here; it may be of another service, or have expired long ago")
    if row["revoked_at"] or (row["expires_at"] and row["expires_at"] <= row["now"]):
        return _ended(row)
    role = Role.of(row["role"])
    if role is not Role.ADMIN:
        if asked and asked != row["workspace"]:
            return _no_workspace(asked)
        workspace_id, workspace = row["workspace_id"], row["workspace"]
    elif not asked:
        workspace_id, workspace = DEFAULT_WORKSPACE_ID, DEFAULT_WORKSPACE
    elif row["asked_workspace_id"] is None:
        return _no_workspace(asked)
    else:
        workspace_id, workspace = row["asked_workspace_id"], asked
    return Caller(
        workspace_id=workspace_id, workspace=workspace, principal=row["name"], role=role, token_id=row["token_id"]
    )


def _no_workspace(name: str) -> WorkspaceNotFound:
    """The same error for a workspace that does not exist and one that the caller may not enter, so that it does not
    reveal which exist."""
    return WorkspaceNotFound(
        f"no workspace {name[:80]!r} for this token; unset MLFLOW_WORKSPACE (or the workspace setting) to use the "
        "workspace of the token",
        field="workspace",
        subject=name,
    )


def _ended(row: asyncpg.Record) -> Unauthenticated:
    what, when = ("was revoked", row["revoked_at"]) if row["revoked_at"] else ("expired", row["expires_at"])
    return Unauthenticated(f"the token {row['name']!r} {what} on {when:%Y-%m-%d at %H:%M:%S} UTC; ask for a new one")


def _what_is_wrong_with(text: str) -> str:
    if text.startswith(PREFIX):
        return "this token is mistyped or cut off: its checksum is wrong; copy it again"
    return f"this is not a token of runstream, which begins with {PREFIX}"
