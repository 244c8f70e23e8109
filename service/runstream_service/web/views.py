"""Saved views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_service.database.times import to_unix_us
from runstream_service.web.request import Message

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.core.saved_views import SavedView, SavedViews
    from runstream_service.web.request import Empty

Answer = dict[str, Any]


class OneView(Message):
    """GET and DELETE views/{view_id}."""

    view_id: str = ""


class NewView(Message):
    """POST views. `state` is a path of the page with its query."""

    name: str
    state: str


class ChangedView(Message):
    """PUT views/{view_id}. Fields that are left out change nothing."""

    view_id: str = ""
    name: str | None = None
    state: str | None = None


class ViewHandlers:
    """One method per route of routes.py."""

    def __init__(self, views: SavedViews) -> None:
        self._views = views

    async def list(self, caller: Caller, _message: Empty) -> Answer:
        return {"views": [_rendered(view) for view in await self._views.list(caller)]}

    async def create(self, caller: Caller, message: NewView) -> Answer:
        return {"view": _rendered(await self._views.create(caller, message.name, message.state))}

    async def get(self, caller: Caller, message: OneView) -> Answer:
        return {"view": _rendered(await self._views.get(caller, message.view_id))}

    async def update(self, caller: Caller, message: ChangedView) -> Answer:
        view = await self._views.update(caller, message.view_id, name=message.name, state=message.state)
        return {"view": _rendered(view)}

    async def delete(self, caller: Caller, message: OneView) -> Answer:
        await self._views.delete(caller, message.view_id)
        return {}


def _rendered(view: SavedView) -> Answer:
    return {
        "view_id": view.view_id.hex,
        "name": view.name,
        "state": view.state,
        "owner": view.owner,
        "created_us": to_unix_us(view.created_at),
        "updated_us": to_unix_us(view.updated_at),
    }
