"""The authenticator of a service without authentication: everybody is the same caller, and may do everything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from runstream_service.auth.authenticator import Credentials
from runstream_service.core.caller import DEFAULT_WORKSPACE, DEFAULT_WORKSPACE_ID, Caller, Role
from runstream_service.errors.core import CoreError, WorkspaceNotFound

_EVERYBODY = Caller(
    workspace_id=DEFAULT_WORKSPACE_ID, workspace=DEFAULT_WORKSPACE, principal="anonymous", role=Role.ADMIN
)


class Anonymous:
    """Implements Authenticator. Credentials are ignored, except for the workspace that they name."""

    async def authenticate(self, credentials: Credentials) -> Caller:
        """The one caller. Raises WorkspaceNotFound if the call asks for a workspace other than the default one."""
        if credentials.workspace not in ("", DEFAULT_WORKSPACE):
            raise WorkspaceNotFound(
                f"no workspace {credentials.workspace[:80]!r}: this service has no workspaces, since it runs "
                "without authentication. Unset MLFLOW_WORKSPACE (or the workspace setting), or ask its operator to set "
                "--auth on",
                field="workspace",
                subject=credentials.workspace,
            )
        return _EVERYBODY

    def watching(self, _caller: Caller, _end: Callable[[CoreError], None]) -> AbstractContextManager[None]:
        """Does nothing: an anonymous caller has no credentials that could end."""
        return contextlib.nullcontext()
