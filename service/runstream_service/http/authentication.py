"""Puts the caller of each request in place."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from runstream_service.auth.authenticator import Authenticator, Credentials
from runstream_service.auth.credentials import token_of
from runstream_service.auth.refused_calls import RefusedCalls
from runstream_service.http.callers import error_of, known_caller_of, set_caller, set_error
from runstream_service.http.pages import OPEN_PATHS
from runstream_service.http.paths import route_path
from runstream_service.mlflow.errors import answer_to
from runstream_service.mlflow.server import INFO_PATHS

# What MLflow's clients read before they sign in.
_SERVER_INFO = tuple(f"/{prefix}/3.0/mlflow/{path}" for prefix in ("api", "ajax-api") for path in INFO_PATHS)
PUBLIC_PATHS = frozenset((*OPEN_PATHS, *_SERVER_INFO))


class Authenticate:
    """ASGI middleware: a request reaches a route with a caller, or not at all, but for the public paths. Those that
    are refused, here or by their routes, are noted."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, refused_calls: RefusedCalls | None = None) -> None:
        self._app = app
        self._authenticator = authenticator
        self._refused_calls = refused_calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in PUBLIC_PATHS:
            return await self._app(scope, receive, send)
        app = self._app
        try:
            set_caller(scope, await self._authenticator.authenticate(_credentials(Headers(scope=scope))))
        except Exception as error:
            set_error(scope, error)
            app = answer_to(error)
        await app(scope, receive, send)
        return self._note_refusal(scope)

    def _note_refusal(self, scope: Scope) -> None:
        error = error_of(scope)
        if error is None or self._refused_calls is None:
            return
        client = scope.get("client")
        # Before a request is routed, all that is known is a path that its caller made up.
        route = scope.get("route")
        self._refused_calls.note(
            error,
            call=f"{scope['method']} {route.path}" if route else "HTTP",
            peer=client[0] if client else "local",
            caller=known_caller_of(scope),
        )


def _credentials(headers: Headers) -> Credentials:
    return Credentials(token_of(headers.get("authorization", "")), headers.get("x-mlflow-workspace", ""))
