"""Serves the page: its index.html at every path that a person can link to, and its files."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from runstream_service.http.paths import relative
from runstream_service.web.page_files import PageFile, PageFiles, source_hash

# Every place of the page, and the module that only this place needs. All places get the same index.html, except for the
# modules that it preloads; the router in the page then shows the place that the path names.
PLACES = {
    "/": None,
    "/e/{experiment_id}": None,
    "/r/{run_id}": "places/run.js",
    "/compare": "places/compare.js",
    "/v/{view_id}": "places/saved_view.js",
}
PAGE_FILE = "/web/page/{hash}/{path:path}"
_FOREVER = "public, max-age=31536000, immutable"
_INLINE_SCRIPT = re.compile(r"<script(?: type=\"importmap\")?>(.*?)</script>", re.DOTALL)


def page_routes(page: PageFiles) -> list[BaseRoute]:
    """The routes of all places and of the files."""

    async def file(request: Request) -> Response:
        found = page.files.get(request.path_params["path"])
        if found is None:
            return PlainTextResponse("The page has no such file. It may have been updated: reload it.", 404)
        is_current = request.path_params["hash"] == page.hash
        return _answer(found, request, is_current=is_current)

    return [*(Route(path, _place(page, module)) for path, module in PLACES.items()), Route(PAGE_FILE, file)]


def _place(page: PageFiles, module: str | None) -> Callable[[Request], Awaitable[Response]]:
    html = page.index.replace("{preloads}", _preloads(page, module)).replace("{files}", f"web/page/{page.hash}")
    policy = _policy(html)

    async def place(request: Request) -> Response:
        # The base is relative, so that it is right below every prefix, even one that a proxy strips.
        headers = {"content-security-policy": policy, "cache-control": "no-cache"}
        return HTMLResponse(html.replace("{base}", relative("/", request.scope)), headers=headers)

    return place


def _answer(file: PageFile, request: Request, *, is_current: bool) -> Response:
    # During an upgrade, a page of one version may request a file from a replica of the other version. The other file is
    # better than none, but must not stay in a cache.
    headers = {"cache-control": _FOREVER if is_current else "no-store", "vary": "accept-encoding"}
    content = file.content
    if "gzip" in request.headers.get("accept-encoding", "") and file.compressed is not None:
        content = file.compressed
        headers["content-encoding"] = "gzip"
    return Response(content, headers=headers, media_type=file.media_type)


def _preloads(page: PageFiles, module: str | None) -> str:
    modules = page.imported_by("main.js", *([module] if module else []))
    return "\n".join(f'<link rel="modulepreload" href="{{files}}/{name}">' for name in modules)


def _policy(html: str) -> str:
    """The content security policy: nothing is loaded from elsewhere, and only the page's own scripts run, whatever a
    name or a note contains."""
    inline = " ".join(source_hash(script) for script in _INLINE_SCRIPT.findall(html))
    return (
        f"default-src 'none'; script-src 'self' {inline}; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
