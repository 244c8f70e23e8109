"""What people manage with calls, in one object for the front ends: workspaces, limits, tokens, the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.auth.tokens import Tokens
from runstream_service.auth.workspace_limits import StoredLimits
from runstream_service.auth.workspaces import Workspaces
from runstream_service.core.audit import AuditLog

if TYPE_CHECKING:
    from runstream_service.database.pool import Database


@dataclass(frozen=True, slots=True)
class Access:
    """Workspaces, limits, tokens and the audit log of a database. `is_on`: every call needs credentials (--auth on);
    `public_url` is the setting --public-url, or empty."""

    workspaces: Workspaces
    limits: StoredLimits
    tokens: Tokens
    audit: AuditLog
    is_on: bool
    public_url: str

    @classmethod
    def of(cls, database: Database, *, is_on: bool, public_url: str = "") -> Access:
        """Makes all of them for a database."""
        workspaces = Workspaces(database)
        limits = StoredLimits(database, workspaces)
        return cls(workspaces, limits, Tokens(database), AuditLog(database), is_on, public_url)
