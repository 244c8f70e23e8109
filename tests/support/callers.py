"""Callers for tests that call the core directly."""

from __future__ import annotations

from runstream_service.core.caller import DEFAULT_WORKSPACE, DEFAULT_WORKSPACE_ID, Caller, Role

# The caller that everybody is without authentication.
ANYONE = Caller(workspace_id=DEFAULT_WORKSPACE_ID, workspace=DEFAULT_WORKSPACE, principal="anonymous", role=Role.ADMIN)


def caller_in(workspace_id: int, role: Role = Role.WRITE, *, principal: str = "somebody") -> Caller:
    """A caller in some workspace."""
    return Caller(workspace_id=workspace_id, workspace=f"workspace-{workspace_id}", principal=principal, role=role)
