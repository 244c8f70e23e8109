"""Requests of clients and of the UI about the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_service.mlflow.request import Message

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller

# The version of MLflow that this API corresponds to. Clients read it at /version before they use some features.
MLFLOW_VERSION = "3.17.2"


class Nothing(Message):
    """A request without fields."""


async def server_info(_caller: None, _message: Nothing) -> dict[str, Any]:
    """server-info: what this server can do besides the basics."""
    return {
        "store_type": "SqlStore",
        "workspaces_enabled": False,
        "multipart_uploads_enabled": False,
        "multipart_downloads_enabled": False,
    }


async def ui_telemetry(_caller: Caller, _message: Nothing) -> dict[str, Any]:
    """Disables the telemetry of the UI."""
    return {"disable_ui_telemetry": True, "disable_ui_events": [], "ui_rollout_percentage": 0}


async def no_gateway(_caller: Caller, _message: Nothing) -> dict[str, Any]:
    """The endpoints of a gateway, which this service does not have."""
    return {"endpoints": []}


async def none_found(_caller: Caller, _message: Nothing) -> dict[str, Any]:
    """A search for objects that this server does not store."""
    return {}
