"""MLflow's own web UI: the static files of the installed package mlflow, which is not imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from runstream_service.http.page_html import page
from runstream_service.http.paths import MLFLOW_UI, relative

# The names of these files contain a hash of their content, so the files never change.
_FOREVER = "public, max-age=31536000, immutable"
_WITHOUT = """<h1>MLflow's web UI is not installed</h1>
<p>It can be shown here, on the same data. It comes with the package mlflow: install it alongside runstream, and restart
the service.</p>
<pre>pip install 'runstream[server,ui]'</pre>
<p><a href="../">runstream's own page</a> shows runs and charts without it.</p>
"""


def find_ui() -> Path | None:
    """The directory with the UI's index.html; None if mlflow is not installed, or only mlflow-skinny."""
    spec = importlib.util.find_spec("mlflow")
    for place in (spec and spec.submodule_search_locations) or ():
        build = Path(place) / "server" / "js" / "build"
        if (build / "index.html").is_file():
            return build
    return None


def mlflow_ui_routes(build: Path | None) -> list[BaseRoute]:
    """The page and its files, whose links are all relative; without `build`, a page that says how to install them."""

    async def index(_request: Request) -> Response:
        if build is None:
            return page(_WITHOUT, title="MLflow's UI · runstream", status=404)
        # It refers to its other files by hashes: after an upgrade, a cached page would request files that are gone.
        return FileResponse(build / "index.html", headers={"cache-control": "no-cache"})

    async def with_slash(request: Request) -> Response:
        return RedirectResponse(relative(f"{MLFLOW_UI}/", request.scope), 308)

    files = [] if build is None else [Mount("/static-files", _Hashed(directory=build))]
    return [Route(f"{MLFLOW_UI}/", index), Route(MLFLOW_UI, with_slash), *files]


class _Hashed(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if path.startswith("static/") and response.status_code == 200:
            response.headers["cache-control"] = _FOREVER
        return response
