"""Puts the caller of each request in place."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from runstream_service.auth.authenticator import Authenticator, Credentials
from runstream_service.auth.credentials import token_of
from runstream_service.http.callers import set_caller
from runstream_service.http.pages import OPEN_PATHS
from runstream_service.http.paths import route_path
from runstream_service.mlflow.errors import answer_to

# What MLflow's clients read before they sign in.
_SERVER_INFO = tuple(f"/{prefix}/3.0/mlflow/server-info" for prefix in ("api", "ajax-api"))
PUBLIC_PATHS = frozenset((*OPEN_PATHS, *_SERVER_INFO))


class Authenticate:
    """ASGI middleware: a request reaches a route with a caller, or not at all, but for the public paths."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in PUBLIC_PATHS:
            return await self._app(scope, receive, send)
        try:
            set_caller(scope, await self._authenticator.authenticate(_credentials(Headers(scope=scope))))
        except Exception as error:
            return await answer_to(error)(scope, receive, send)
        return await self._app(scope, receive, send)


def _credentials(headers: Headers) -> Credentials:
    return Credentials(token_of(headers.get("authorization", "")), headers.get("x-mlflow-workspace", ""))
