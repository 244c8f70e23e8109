"""Normalises paths: repeated slashes, the prefix under which a proxy serves this service, and that of MLflow's UI."""

from __future__ import annotations

import re

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# Below it is the API of the page (web/).
WEB_API = "/web/api/"

_REPEATED = re.compile(r"/{2,}")
# The rest of the path is a file's path or a tag's key, which stays as the caller wrote it.
_CALLERS = re.compile(r"/mlflow-artifacts/+(?:artifacts|presigned|mpu/+\w+)/|/logged-models/+[^/]+/+tags/")

# Where MLflow's UI is. It asks for everything else relative to its page.
MLFLOW_UI = "/mlflow"
_ASKED_BELOW = re.compile(
    r"/(?:api|ajax-api|static-files)/|/(?:graphql|get-artifact|model-versions/get-artifact|health|version)$"
)
_BELOW = "runstream.below"


class SingleSlashes:
    """ASGI middleware: repeated slashes in a path count as one, since a base URL may end with a slash. MLflow's server
    does the same, partly by redirects, which old clients do not follow for a POST."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "//" in scope["path"]:
            scope["path"] = single_slashes(scope["path"])
        await self._app(scope, receive, send)


def single_slashes(path: str) -> str:
    """The path with single slashes, except in the last part that callers choose."""
    callers = _CALLERS.search(path)
    at = callers.end() if callers else len(path)
    return _REPEATED.sub("/", path[:at]) + path[at:]


class PathPrefix:
    """ASGI middleware: everything is served with and without the prefix, for proxies that pass it on and for those that
    strip it. Inside, it is the application's root_path, from which Starlette makes links and redirects."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._prefix:
            return await self._app(scope, receive, send)
        if scope["path"] == self._prefix:
            # The web UI's links are relative to a path that ends in a slash.
            query = scope["query_string"].decode("latin-1")
            location = f"{self._prefix}/?{query}" if query else f"{self._prefix}/"
            return await RedirectResponse(location, 308)(scope, receive, send)
        if not scope["path"].startswith(f"{self._prefix}/"):
            scope["path"] = self._prefix + scope["path"]
        scope["root_path"] = self._prefix
        return await self._app(scope, receive, send)


class BelowMlflowUi:
    """ASGI middleware: what MLflow's UI asks for below its page is served as the path without that, so it has the same
    routes and the same roles. It comes after the prefix of a proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, root = route_path(scope), scope.get("root_path", "")
            if path.startswith(f"{MLFLOW_UI}/") and _ASKED_BELOW.match(path, len(MLFLOW_UI)):
                scope["path"] = root + path.removeprefix(MLFLOW_UI)
                scope[_BELOW] = MLFLOW_UI
        await self._app(scope, receive, send)


def route_path(scope: Scope) -> str:
    """The path without the prefix, as in the routes."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def is_web_api(scope: Scope) -> bool:
    """Whether a request is of the page's API, which has errors in a form of its own."""
    return route_path(scope).startswith(WEB_API)


def requested_path(scope: Scope) -> str:
    """The path as the browser has it, but for the prefix of a proxy."""
    below: str = scope.get(_BELOW, "")
    return below + route_path(scope)


def relative(path: str, scope: Scope) -> str:
    """A path of the service as seen from the path of a request. It is right below any prefix, also one that a proxy
    strips and tells nobody about; and it never leads to another host."""
    return f"{'../' * (requested_path(scope).count('/') - 1)}./{path.removeprefix('/')}"


def local_path(text: str) -> str:
    """A path of the service from a text that anybody may have written; / if it is none."""
    if not text.startswith("/") or text.startswith("//") or "\\" in text or any(ord(one) < 33 for one in text):
        return "/"
    return text
