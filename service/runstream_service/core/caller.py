"""The caller of a request. Functions of the core take a Caller first, so that every statement is limited to its
workspace."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from runstream_service.errors.core import Forbidden

# Workspaces of migrations 0001 and 0009.
DEFAULT_WORKSPACE_ID = 1
DEFAULT_WORKSPACE = "default"
# The workspace of experiments that are being purged. No caller is ever in it.
PURGED_WORKSPACE_ID = 0


class Role(enum.IntEnum):
    """What a caller may do in its workspace. Each role includes the ones before it."""

    READ = 1
    WRITE = 2  # create and log
    MANAGE = 3  # delete, restore, retention, tokens of the workspace
    ADMIN = 4  # workspaces, and everything in all of them

    @classmethod
    def of(cls, name: str) -> Role:
        """The role with this name in lower case. Raises KeyError."""
        return cls[name.upper()]

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls (`principal`), the workspace that the call works in, and the caller's role there.

    `token_id`: the id of its token; None for callers without one. `expires_at`: when its credentials end, in seconds
    since 1970; None if they do not say. `others`: names of further workspaces that it may choose.
    """

    workspace_id: int
    workspace: str
    principal: str
    role: Role
    token_id: int | None = None
    expires_at: float | None = None
    others: tuple[str, ...] = ()

    def check(self, role: Role) -> None:
        """Raises Forbidden if the caller's role is lower."""
        if self.role < role:
            raise Forbidden(
                f"this needs the role {role} in workspace {self.workspace!r}; {self.principal} has {self.role}. "
                "Use a token with that role, or ask a manager of the workspace"
            )
