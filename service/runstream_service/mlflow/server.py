"""Requests of clients and of the UI about the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_service.mlflow.request import Message

if TYPE_CHECKING:
    from runstream_service.auth.access import Access
    from runstream_service.core.caller import Caller


class Empty(Message):
    """A request without fields."""


class ServerInfo:
    """What this server can do beyond what every MLflow server does."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def answer(self, _caller: None, _message: Empty) -> dict[str, Any]:
        """GET server-info, and server-features, which clients try if there is no server-info. Both are public."""
        return {
            "store_type": "SqlStore",
            "workspaces_enabled": self._access.is_on,
            "multipart_uploads_enabled": False,
            "multipart_downloads_enabled": False,
        }


async def ui_telemetry(_caller: Caller, _message: Empty) -> dict[str, Any]:
    """Disables the telemetry of the UI."""
    return {"disable_ui_telemetry": True, "disable_ui_events": [], "ui_rollout_percentage": 0}


async def no_gateway(_caller: Caller, _message: Empty) -> dict[str, Any]:
    """The endpoints of a gateway, which this service does not have."""
    return {"endpoints": []}


async def empty_search(_caller: Caller, _message: Empty) -> dict[str, Any]:
    """A search for objects that this server does not store."""
    return {}
