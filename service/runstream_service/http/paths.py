"""Paths with repeated slashes."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_REPEATED = re.compile(r"/{2,}")
# What follows is a file's path or a tag's key, and the caller's own.
_CALLERS = re.compile(r"/mlflow-artifacts/+(?:artifacts|presigned|mpu/+\w+)/|/logged-models/+[^/]+/+tags/")


class SingleSlashes:
    """ASGI middleware: repeated slashes in a path count as one, since a base URL may end with one of its own. MLflow's
    server does the same, partly by redirects, which old clients do not follow with a POST."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "//" in scope["path"]:
            scope["path"] = single_slashes(scope["path"])
        await self._app(scope, receive, send)


def single_slashes(path: str) -> str:
    """The path with repeated slashes as one, but for the end of it that callers choose."""
    callers = _CALLERS.search(path)
    at = callers.end() if callers else len(path)
    return _REPEATED.sub("/", path[:at]) + path[at:]
