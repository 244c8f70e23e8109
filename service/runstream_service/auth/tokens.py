"""Tokens as they are stored: created, listed, revoked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from runstream_service.auth.token_text import hash_of, new_token
from runstream_service.core import audit
from runstream_service.core.caller import Role
from runstream_service.core.names import check_name
from runstream_service.core.pages import check_page_size, make_token, read_token
from runstream_service.database.queries import load
from runstream_service.errors.core import AlreadyExists, Forbidden, InvalidField, NotFound

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database

SQL = load("access")

MAX_NAME_CHARACTERS = 100
MAX_AGE_S = 10 * 365 * 86_400.0
# Short, since tracking URIs are often written to logs and notebooks.
MAX_URI_AGE_S = 24 * 3_600.0
DEFAULT_URI_AGE_S = 3_600.0
_NEWEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its text. Times are by the clock of the database."""

    token_id: int
    name: str
    role: Role
    workspace: str  # empty: all of them
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made, with its text. The text is not stored, so it can be shown only once."""

    token: Token
    text: str = field(repr=False)


class Tokens:
    """The tokens of a database. All methods also raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Caller, name: str, role: Role, *, expires_in_s: float | None = None) -> NewToken:
        """Makes a token for the caller's workspace, or for all workspaces if the role is ADMIN. Without `expires_in_s`
        it does not expire.

        Raises:
            Forbidden: the caller may not manage tokens, or has a lower role than the new token.
            InvalidField: the name or the time is not valid.
            AlreadyExists: the workspace has a token with this name, which is not revoked.
        """
        caller.check(Role.MANAGE)
        if role > caller.role:
            raise Forbidden(
                f"role: {caller.principal} has the role {caller.role}, and cannot make a token with the role {role}"
            )
        check_name(name, field="name", max_characters=MAX_NAME_CHARACTERS)
        return await self._insert(caller, "token", name, role, _checked_age(expires_in_s, MAX_AGE_S))

    async def create_for_uri(self, caller: Caller, *, expires_in_s: float = 0.0) -> NewToken:
        """Makes a token for a tracking URI. It may do what the caller may, except managing; it ends after
        `expires_in_s` (0: an hour), and with the caller's own token, session or JWT at the latest.

        Raises:
            InvalidField: `expires_in_s` is not valid.
        """
        age_s = _checked_age(expires_in_s or DEFAULT_URI_AGE_S, MAX_URI_AGE_S)
        if age_s is not None and caller.expires_at is not None:
            age_s = min(age_s, max(0.0, caller.expires_at - time.time()))
        role = min(caller.role, Role.WRITE)
        return await self._insert(caller, "uri", f"tracking URI of {caller.principal}", role, age_s)

    async def create_for_login(self, caller: Caller, machine: str, *, expires_in_s: float) -> NewToken:
        """Makes a token for a person's command line on a machine, which may do what the person may. It ends after
        `expires_in_s`, and with the token that the person signed in with at the latest."""
        return await self._insert(caller, "login", f"{caller.principal} on {machine}", caller.role, expires_in_s)

    async def _insert(self, caller: Caller, kind: str, name: str, role: Role, age_s: float | None) -> NewToken:
        text = new_token()
        is_admin = role is Role.ADMIN
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                SQL["insert_token"],
                hash_of(text),
                kind,
                name,
                None if is_admin else caller.workspace_id,
                str(role),
                caller.token_id if kind != "token" else None,
                caller.principal,
                age_s,
            )
            if row is None:
                raise AlreadyExists(
                    f"name: there is a token {name!r} already; choose another name, or revoke that token",
                    field="name",
                    subject=name,
                )
            expiry = row["expires_at"].isoformat() if row["expires_at"] else None
            action = "tracking_uri_created" if kind == "uri" else "token_created"
            await audit.record(
                connection, caller, action, name, token_id=row["token_id"], role=str(role), expires_at=expiry
            )
        return NewToken(_token(row, "" if is_admin else caller.workspace), text)

    async def list(
        self,
        caller: Caller,
        *,
        all_workspaces: bool = False,
        include_revoked: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> tuple[Sequence[Token], str]:
        """One page of the tokens of the caller's workspace, or of all workspaces, newest first; and the `page_token` of
        the next page, which is empty on the last one.

        Raises:
            Forbidden: the caller may not manage tokens, or is not an admin and asks for all workspaces.
            InvalidField: the size or the token of the page is not valid.
        """
        caller.check(Role.ADMIN if all_workspaces else Role.MANAGE)
        size = check_page_size(page_size)
        before = read_token(page_token, of="tokens", shape=(int,))
        where = None if all_workspaces else caller.workspace_id
        rows = await self._database.fetch(
            SQL["list_tokens"], where, include_revoked, before[0] if before else _NEWEST, size
        )
        last = make_token(of="tokens", after=[rows[-1]["token_id"]]) if len(rows) == size else ""
        return [_token(row, row["workspace"] or "") for row in rows], last

    async def revoke(self, caller: Caller, token_id: int) -> Token:
        """Revokes a token, and the tokens of tracking URIs that were made with it. Calls and open streams with them are
        refused or ended within five seconds. Revoking a token again is no error.

        Raises:
            Forbidden: the caller may not manage tokens.
            NotFound: the caller's workspace has no such token.
        """
        caller.check(Role.MANAGE)
        where = None if caller.role is Role.ADMIN else caller.workspace_id
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SQL["revoke_token"], where, token_id)
            if row is None:
                raise NotFound(f"no token with id {token_id}", field="token_id", subject=token_id)
            await audit.record(connection, caller, "token_revoked", row["name"], token_id=token_id)
        return _token(row, row["workspace"] or "")


def _checked_age(seconds: float | None, most: float) -> float | None:
    if seconds is None:
        return None
    if not 1 <= seconds <= most:
        raise InvalidField(
            f"expires_in_s: {seconds:g} s is not from 1 s to {most:,.0f} s ({most / 86_400:g} days)",
            field="expires_in_s",
        )
    return seconds


def _token(row: asyncpg.Record, workspace: str) -> Token:
    return Token(
        row["token_id"],
        row["name"],
        Role.of(row["role"]),
        workspace,
        row["created_by"],
        row["created_at"],
        row["expires_at"],
        row["revoked_at"],
    )
