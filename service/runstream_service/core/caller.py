"""Who asks. Every core call takes a Caller first, so that isolation is a filter and authentication an interceptor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The asking principal and the workspace it works in."""

    workspace_id: int
    principal: str


# Until authentication exists, whoever reaches the service is this one (workspace 1 is `default`, migration 0001).
ANYONE = Caller(workspace_id=1, principal="anonymous")
