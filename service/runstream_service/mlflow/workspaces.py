"""Workspaces: messages and handlers.

MLflow's client sends these requests without the header X-MLFLOW-WORKSPACE: their path or body names the workspace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from runstream_service.core.caller import DEFAULT_WORKSPACE
from runstream_service.http.mlflow_errors import MlflowError, invalid
from runstream_service.mlflow.request import Message, check_not_empty
from runstream_service.mlflow.responses import without_unset

if TYPE_CHECKING:
    from runstream_service.auth.access import Access
    from runstream_service.auth.workspaces import Workspace
    from runstream_service.core.caller import Caller
    from runstream_service.mlflow.server import Empty

Answer = dict[str, Any]


class Create(Message):
    """POST of workspaces. The last two fields are only accepted when they are empty."""

    name: str
    description: str | None = None
    default_artifact_root: str = ""
    trace_archival_config: dict[str, Any] | None = None


class ByName(Message):
    """GET and DELETE of a workspace."""

    workspace_name: str


class Update(Message):
    """PATCH of a workspace. The last two fields are only accepted when they are empty."""

    workspace_name: str
    description: str | None = None
    default_artifact_root: str = ""
    trace_archival_config: dict[str, Any] | None = None


class WorkspaceHandlers:
    """One method per route of routes.py."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def list(self, caller: Caller, _message: Empty) -> Answer:
        self._check_on()
        return {"workspaces": [rendered(one) for one in await self._access.workspaces.list(caller)]}

    async def create(self, caller: Caller, message: Create) -> Answer:
        self._check_on()
        _check_settings(message)
        if check_not_empty(message.name, "name") == DEFAULT_WORKSPACE:
            raise invalid(f"The '{DEFAULT_WORKSPACE}' workspace is reserved and cannot be created")
        created = await self._access.workspaces.create(caller, message.name, description=message.description or "")
        return {"workspace": rendered(created)}

    async def get(self, caller: Caller, message: ByName) -> Answer:
        self._check_on()
        return {"workspace": rendered(await self._access.workspaces.get(caller, message.workspace_name))}

    async def update(self, caller: Caller, message: Update) -> Answer:
        self._check_on()
        _check_settings(message)
        if message.description is None:
            raise invalid("Workspace update must have at least one key: description")
        changed = await self._access.workspaces.describe(caller, message.workspace_name, message.description)
        return {"workspace": rendered(changed)}

    async def delete(self, caller: Caller, message: ByName) -> NoReturn:
        """Always refused: training jobs may have journals on their machines that belong to the workspace."""
        self._check_on()
        await self._access.workspaces.get(caller, message.workspace_name)
        raise MlflowError(
            "FEATURE_DISABLED",
            "Workspace deletion is not supported by this service. To close a workspace, revoke its tokens "
            "(runstream token revoke) and delete its experiments, which `runstream gc` then purges.",
        )

    def _check_on(self) -> None:
        if not self._access.is_on:
            raise MlflowError(
                "FEATURE_DISABLED",
                "Workspace APIs are not available: workspaces are not enabled on this server. They need "
                "authentication: ask its operator to start it with --auth on.",
            )


def rendered(workspace: Workspace) -> Answer:
    """A workspace in the form of MLflow's message Workspace."""
    return without_unset(name=workspace.name, description=workspace.description or None)


def _check_settings(message: Create | Update) -> None:
    if message.default_artifact_root.strip():
        raise invalid(
            "default_artifact_root: this service keeps the files of all workspaces in its own store, which its "
            "operator chooses with --artifacts; leave it out"
        )
    if any((message.trace_archival_config or {}).values()):
        raise invalid("trace_archival_config: this service does not store traces; leave it out")
