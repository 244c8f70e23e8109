"""The caller of commands that work on the database itself. A person who can connect to the database may do everything,
without a token."""

from __future__ import annotations

import getpass
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from runstream_service.core.caller import DEFAULT_WORKSPACE, DEFAULT_WORKSPACE_ID, Caller, Role

if TYPE_CHECKING:
    from runstream_service.auth.access import Access


async def operator_in(access: Access, workspace: str) -> Caller:
    """The operator as a caller in one workspace. Raises WorkspaceNotFound."""
    operator = Caller(
        workspace_id=DEFAULT_WORKSPACE_ID, workspace=DEFAULT_WORKSPACE, principal=_operating_user(), role=Role.ADMIN
    )
    found = await access.workspaces.get(operator, workspace)
    return replace(operator, workspace_id=found.workspace_id, workspace=found.name)


def _operating_user() -> str:
    try:
        return f"operator {getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name, as in many containers
        return f"operator {os.getuid()}"
