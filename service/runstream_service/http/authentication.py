"""Finds out who sent each request, and puts the caller into its scope."""

from __future__ import annotations

import functools
from urllib.parse import quote, urlencode

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from runstream_service.auth.authenticator import Authenticator, Credentials
from runstream_service.auth.credentials import token_of
from runstream_service.auth.refused_calls import RefusedCalls
from runstream_service.errors.core import Unauthenticated, WorkspaceNotFound
from runstream_service.http.callers import Proof, error_of, known_caller_of, set_caller, set_error, set_recheck
from runstream_service.http.pages import OPEN_PATHS
from runstream_service.http.paths import SERVER_INFO_PATHS, relative, requested_path, route_path
from runstream_service.http.refusals import refused
from runstream_service.http.session_cookie import read_session
from runstream_service.http.sign_in_paths import CHOOSE_WORKSPACE, COMMAND_LINE_TOKEN, SIGN_IN, SIGN_IN_PATHS

PUBLIC_PATHS = frozenset((*OPEN_PATHS, *SERVER_INFO_PATHS))


class Authenticate:
    """ASGI middleware: except for public paths, a request reaches its route only with a caller. Requests that are
    refused for their credentials or role, here or by their routes, are recorded in `refused_calls`. `is_on`: the
    authenticator asks for credentials, and people with a browser are sent to the page where they sign in."""

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        refused_calls: RefusedCalls | None = None,
        *,
        is_on: bool = False,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._refused_calls = refused_calls
        self._is_on = is_on
        self._public = PUBLIC_PATHS | SIGN_IN_PATHS | {COMMAND_LINE_TOKEN} if is_on else PUBLIC_PATHS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        app = self._app
        if route_path(scope) not in self._public:
            app = await self._identify(scope)
        await app(scope, receive, send)
        return self._note_refusal(scope)

    async def _identify(self, scope: Scope) -> ASGIApp:
        """Puts the caller into the scope; returns the application that is to handle the request."""
        headers = Headers(scope=scope)
        try:
            credentials, proof = _credentials(scope, headers)
            caller = await self._authenticator.authenticate(credentials)
            set_caller(scope, caller, proof if self._is_on else Proof.NOTHING)
            set_recheck(scope, functools.partial(self._authenticator.authenticate, credentials))
        except Exception as error:
            return self._refusal(error, scope, headers)
        return self._app

    def _note_refusal(self, scope: Scope) -> None:
        error = error_of(scope)
        if error is None or self._refused_calls is None:
            return
        client = scope.get("client")
        # Without a route, only the path is known, which a caller can make up; so it is not recorded.
        route = scope.get("route")
        self._refused_calls.note(
            error,
            call=f"{scope['method']} {route.path}" if route else "HTTP",
            peer=client[0] if client else "local",
            caller=known_caller_of(scope),
        )

    def _refusal(self, error: Exception, scope: Scope, headers: Headers) -> Response:
        """Clients and scripts of pages get an error; a person with a browser gets the page that helps."""
        is_page = scope["method"] in ("GET", "HEAD") and "text/html" in headers.get("accept", "")
        if self._is_on and is_page and "authorization" not in headers:
            if isinstance(error, Unauthenticated):
                return _to(SIGN_IN, scope)
            if isinstance(error, WorkspaceNotFound):
                return _to(CHOOSE_WORKSPACE, scope)
        set_error(scope, error)
        return refused(scope, error)


def _to(path: str, scope: Scope) -> Response:
    query = scope["query_string"].decode("latin-1")
    path_here = quote(requested_path(scope))
    wanted = f"{path_here}?{query}" if query else path_here
    location = f"{relative(path, scope)}?{urlencode({'next': wanted})}"
    return RedirectResponse(location, 303, {"cache-control": "no-store"})


def _credentials(scope: Scope, headers: Headers) -> tuple[Credentials, Proof]:
    """The credentials of a request. A token in a header wins over the session of a browser."""
    workspace = headers.get("x-mlflow-workspace", "")
    authorization = headers.get("authorization", "")
    if token := token_of(authorization):
        is_bearer = authorization[:6].lower() == "bearer"
        return Credentials(token, workspace), Proof.BEARER if is_bearer else Proof.BASIC
    session, chosen = read_session(scope)
    return Credentials(session=session, workspace=workspace or chosen), Proof.COOKIE
