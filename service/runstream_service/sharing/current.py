"""The workspace that the present task works for. It only decides whose turn it is; what a caller may see is decided by
the Caller that each function of the core takes."""

from __future__ import annotations

from contextvars import ContextVar

# For the work of the service itself, such as retention.
NO_WORKSPACE = 0

_CURRENT: ContextVar[int] = ContextVar("workspace", default=NO_WORKSPACE)


def work_for(workspace_id: int) -> None:
    """From now on, this task, the tasks that it starts, and the reads that it runs on the reader thread work for it."""
    _CURRENT.set(workspace_id)


def current_workspace() -> int:
    """Whom this task works for."""
    return _CURRENT.get()
