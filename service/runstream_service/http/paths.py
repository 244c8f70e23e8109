"""Normalises paths: repeated slashes, the prefix under which a proxy serves this service, and that of MLflow's UI."""

from __future__ import annotations

import re

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# The API of the page (web/) is below this path.
WEB_API = "/web/api/"

_REPEATED = re.compile(r"/{2,}")
# The rest of the path is a file's path or a tag's key, which stays as the caller wrote it.
_CALLERS = re.compile(r"/mlflow-artifacts/+(?:artifacts|presigned|mpu/+\w+)/|/logged-models/+[^/]+/+tags/")

# Where MLflow's clients read what the server can do, before they sign in: below each of MLFLOW_PREFIXES. They ask for
# the second if there is no first.
SERVER_INFO = ("3.0/mlflow/server-info", "3.0/mlflow/server-features")
MLFLOW_PREFIXES = ("/api", "/ajax-api")
SERVER_INFO_PATHS = tuple(f"{prefix}/{path}" for prefix in MLFLOW_PREFIXES for path in SERVER_INFO)

# Where MLflow's UI is. It requests everything else relative to its page.
MLFLOW_UI = "/mlflow"
_REQUESTED_BELOW = re.compile(
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
    """ASGI middleware: removes /mlflow from the paths that MLflow's UI requests below its page, so that they have the
    same routes and roles as for clients. It runs after PathPrefix."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, root = route_path(scope), scope.get("root_path", "")
            if path.startswith(f"{MLFLOW_UI}/") and _REQUESTED_BELOW.match(path, len(MLFLOW_UI)):
                scope["path"] = root + path.removeprefix(MLFLOW_UI)
                scope[_BELOW] = MLFLOW_UI
        await self._app(scope, receive, send)


def route_path(scope: Scope) -> str:
    """The path without the prefix, as in the routes."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def is_web_api(scope: Scope) -> bool:
    """Whether a request is one of the page's API, which has its own form of errors."""
    return route_path(scope).startswith(WEB_API)


def requested_path(scope: Scope) -> str:
    """The path as the browser has it, without the prefix of a proxy."""
    below: str = scope.get(_BELOW, "")
    return below + route_path(scope)


def relative(path: str, scope: Scope) -> str:
    """A path of the service, relative to the path of a request. So it works below every prefix, even one that a proxy
    strips without saying so; and it never leads to another host."""
    return f"{'../' * (requested_path(scope).count('/') - 1)}./{path.removeprefix('/')}"


def local_path(text: str) -> str:
    """A path of the service from a text of unknown origin, such as a query; / if it would lead elsewhere."""
    if not text.startswith("/") or text.startswith("//") or "\\" in text or any(ord(one) < 33 for one in text):
        return "/"
    return text
