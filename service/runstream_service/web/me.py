"""The caller: name, role, workspace, and the other workspaces that they may enter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runstream_service.http.callers import Proof, proof_of
from runstream_service.http.json_responses import json_response

if TYPE_CHECKING:
    from runstream_service.auth.access import Access
    from runstream_service.core.caller import Caller
    from runstream_service.web.request import Empty


class MeHandlers:
    """One method per route of routes.py."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def get(self, caller: Caller, _message: Empty) -> Response:
        return _AboutCaller(
            {
                "principal": caller.principal,
                "role": str(caller.role),
                "workspace": caller.workspace,
                "workspaces": await self._workspaces_of(caller),
            }
        )

    async def _workspaces_of(self, caller: Caller) -> list[str]:
        if not self._access.is_on:
            return [caller.workspace]
        return [one.name for one in await self._access.workspaces.list(caller)]


class _AboutCaller(Response):
    """A response that adds what only the request's scope knows: whether the browser has a session, which can be
    ended."""

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__()
        self._about = about

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = json_response({**self._about, "signed_in": proof_of(scope) is Proof.COOKIE})
        answer.headers["cache-control"] = "no-store"
        await answer(scope, receive, send)
