"""The workspace that the current task works for. It decides only whose turn it is. What a caller may see is decided by
the Caller that each function of the core takes."""

from __future__ import annotations

from contextvars import ContextVar

# Stands for the work of the service itself, such as retention.
NO_WORKSPACE = 0

_CURRENT: ContextVar[int] = ContextVar("workspace", default=NO_WORKSPACE)


def work_for(workspace_id: int) -> None:
    """Set the workspace of this task, of the tasks that it starts from now on, and of its reads on the reader
    thread."""
    _CURRENT.set(workspace_id)


def current_workspace() -> int:
    """The id of the workspace that this task works for."""
    return _CURRENT.get()
