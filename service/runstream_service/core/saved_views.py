"""Views of the page that users saved under a name, for everybody in their workspace."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from runstream_service.core import audit
from runstream_service.core.names import check_name, is_run_id
from runstream_service.database.queries import load
from runstream_service.errors.core import AlreadyExists, InvalidField, NotFound

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database

SQL = load("saved_views")

MAX_VIEWS = 1_000
MAX_NAME_CHARACTERS = 200
MAX_STATE_CHARACTERS = 8_000


@dataclass(frozen=True, slots=True)
class SavedView:
    """A saved view. `state`: the path and query of the page that show it. `owner`: the principal who saved it first."""

    view_id: UUID
    name: str
    state: str
    owner: str
    created_at: datetime
    updated_at: datetime


class SavedViews:
    """Stores and reads saved views. All methods also raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, caller: Caller) -> list[SavedView]:
        """The views of the caller's workspace; the one that was changed last comes first."""
        return [SavedView(*row) for row in await self._database.fetch(SQL["list"], caller.workspace_id, MAX_VIEWS)]

    async def get(self, caller: Caller, view_id: str) -> SavedView:
        """Returns a view. Raises InvalidField for a malformed id, NotFound."""
        row = await self._database.fetchrow(SQL["get"], caller.workspace_id, _parsed(view_id))
        if row is None:
            raise _not_found(view_id)
        return SavedView(*row)

    async def create(self, caller: Caller, name: str, state: str) -> SavedView:
        """Saves a view.

        Raises:
            InvalidField, AlreadyExists.
        """
        _check(name, state)
        if await self._database.fetchval(SQL["count"], caller.workspace_id) >= MAX_VIEWS:
            raise InvalidField(
                f"name: the workspace {caller.workspace!r} has {MAX_VIEWS:,} saved views; delete some first",
                field="name",
            )
        try:
            row = await self._database.fetchrow(
                SQL["insert"], uuid.uuid4(), caller.workspace_id, name, state, caller.principal
            )
        except asyncpg.UniqueViolationError as error:
            raise _taken(name) from error
        assert row is not None, "it was inserted"
        return SavedView(*row)

    async def update(
        self, caller: Caller, view_id: str, *, name: str | None = None, state: str | None = None
    ) -> SavedView:
        """Changes the name or the state of a view, or both.

        Raises:
            InvalidField, NotFound, AlreadyExists.
        """
        _check(name, state)
        if name is None and state is None:
            raise InvalidField("name: pass a name, a state, or both", field="name")
        try:
            row = await self._database.fetchrow(SQL["update"], caller.workspace_id, _parsed(view_id), name, state)
        except asyncpg.UniqueViolationError as error:
            raise _taken(name or "") from error
        if row is None:
            raise _not_found(view_id)
        return SavedView(*row)

    async def delete(self, caller: Caller, view_id: str) -> None:
        """Deletes a view for good. Raises InvalidField, NotFound."""
        async with self._database.transaction() as connection:
            name = await connection.fetchval(SQL["delete"], caller.workspace_id, _parsed(view_id))
            if name is None:
                raise _not_found(view_id)
            await audit.record(connection, caller, "saved_view_deleted", view_id, name=name)


def _check(name: str | None, state: str | None) -> None:
    if name is not None:
        check_name(name, field="name", max_characters=MAX_NAME_CHARACTERS)
    if state is not None:
        check_name(state, field="state", max_characters=MAX_STATE_CHARACTERS)
        # Browsers follow it, so it must not lead to another host.
        if not state.startswith("/") or state.startswith("//") or "\\" in state:
            raise InvalidField(
                f"state: {state[:80]!r} is not a path of the page; a path begins with one slash", field="state"
            )


def _parsed(view_id: str) -> UUID:
    if not is_run_id(view_id):  # ids of views have the same form
        raise InvalidField(
            f"view_id: {view_id[:80]!r} is not an id of a view, which has 32 hex digits", field="view_id"
        )
    return UUID(view_id)


def _not_found(view_id: str) -> NotFound:
    return NotFound(f"no saved view with id {view_id}", field="view_id", subject=view_id)


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(
        f"name: there is a saved view {name[:80]!r} already; change that one, or take another name", field="name"
    )
