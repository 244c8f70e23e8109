"""MLflow's own web UI: the static files of the installed package mlflow, which is not imported for that."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

# The names of these files contain a hash of their content, so the files never change.
_FOR_EVER = "public, max-age=31536000, immutable"


def find_ui() -> Path | None:
    """The directory with the UI's index.html; None if mlflow is not installed, or only mlflow-skinny."""
    spec = importlib.util.find_spec("mlflow")
    for place in (spec and spec.submodule_search_locations) or ():
        build = Path(place) / "server" / "js" / "build"
        if (build / "index.html").is_file():
            return build
    return None


def ui_routes(build: Path) -> list[BaseRoute]:
    """The page at / and its files. All of its links are relative, so it works below any prefix that ends in a slash."""

    async def index(_request: Request) -> Response:
        # It refers to other files by their hashes: after an upgrade, a cached page would request files that are gone.
        return FileResponse(build / "index.html", headers={"cache-control": "no-cache"})

    return [Route("/", index), Mount("/static-files", _Hashed(directory=build))]


class _Hashed(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if path.startswith("static/") and response.status_code == 200:
            response.headers["cache-control"] = _FOR_EVER
        return response
