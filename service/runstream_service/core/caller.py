"""The caller of a request. Every core function takes a Caller first, so that isolation is a filter in its statements,
and authentication can be an interceptor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The asking principal and the workspace it works in."""

    workspace_id: int
    principal: str


# Until there is authentication, everybody is this caller (workspace 1 is `default`, migration 0001).
ANYONE = Caller(workspace_id=1, principal="anonymous")
