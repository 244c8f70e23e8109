"""The caller of a request. Every core function takes a Caller first, so that isolation is a filter in its
statements."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from runstream_service.errors.core import Forbidden

# Workspaces of migrations 0001 and 0009.
DEFAULT_WORKSPACE_ID = 1
DEFAULT_WORKSPACE = "default"
# That of experiments which are being purged; nobody is in it.
PURGED_WORKSPACE_ID = 0


class Role(enum.IntEnum):
    """What a caller may do in its workspace; each role may do all that the ones before it may."""

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
    """The asking principal, the workspace it works in, and what it may do there.

    `token_id` is that of its token, None for callers without one. `expires_at` is when its credentials end (seconds
    since 1970), if they say so themselves. `others` are names of further workspaces that it may choose to work in.
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
                "Use a token with that role, or ask somebody who manages the workspace"
            )
