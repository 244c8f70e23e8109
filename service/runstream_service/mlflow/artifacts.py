"""Artifacts: the proxy through which MLflow's clients read and write files, and the requests of its UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from runstream_service.artifacts.paths import check_path, check_path_to_list, check_path_to_read, path_of_uri
from runstream_service.http.callers import caller_of
from runstream_service.http.mlflow_errors import MlflowError, invalid
from runstream_service.mlflow.request import Message, check_not_empty
from runstream_service.mlflow.responses import without_unset
from runstream_service.mlflow.run_ids import parse_run_id
from runstream_service.mlflow.transfers import content_length, file_response, request_chunks

if TYPE_CHECKING:
    from runstream_service.artifacts.files_of_caller import FilesOfCaller
    from runstream_service.core.caller import Caller
    from runstream_service.core.model_versions import ModelVersions
    from runstream_service.core.runs import Runs

Answer = dict[str, Any]

# The largest upload from the UI.
MAX_UI_UPLOAD_BYTES = 10 << 20


class ListDirectory(Message):
    """GET mlflow-artifacts/artifacts."""

    path: str = ""


class ArtifactPath(Message):
    """DELETE mlflow-artifacts/artifacts/{path}."""

    path: str


class ListRunArtifacts(Message):
    """artifacts/list. There is only one page, as in MLflow, so no token is ever returned."""

    run_id: str
    path: str = ""
    page_token: str = ""


class ArtifactHandlers:
    """One method per route of routes.py."""

    def __init__(self, files: FilesOfCaller, runs: Runs, versions: ModelVersions) -> None:
        self._files = files
        self._runs = runs
        self._versions = versions

    async def upload(self, request: Request) -> Response:
        """Stores the body as a file, completely or not at all."""
        path = request.path_params["path"]
        if request.url.query:
            # A client that does not encode the ? in a file's name would store it under another one, unnoticed.
            raise invalid("Invalid path: it has a '?', which has to be percent-encoded (%3F) in the name of a file")
        if path.endswith("/"):
            raise invalid("Invalid path: it ends with a '/', so the name of the file is missing")
        await self._files.write(
            caller_of(request), check_path(path), request_chunks(request), size=content_length(request)
        )
        return Response()

    async def download(self, request: Request) -> Response:
        """Streams a file."""
        return await file_response(self._files, check_path_to_read(request.path_params["path"]), request)

    async def delete(self, caller: Caller, message: ArtifactPath) -> Answer:
        """Deletes a file or a directory; it need not exist."""
        await self._files.delete(caller, check_path(message.path))
        return {}

    async def list_directory(self, caller: Caller, message: ListDirectory) -> Answer:
        """Lists a directory of the store, with paths relative to it."""
        path = check_path_to_list(message.path)
        return {} if path is None else await listing(self._files, caller, path)

    async def list_of_run(self, caller: Caller, message: ListRunArtifacts) -> Answer:
        """Lists a directory of a run's files, with paths relative to the run's root."""
        path = check_path_to_list(message.path)
        run = await self._runs.get(caller, parse_run_id(message.run_id).hex)
        files = (
            {} if path is None else await listing(self._files, caller, locate(run.artifact_uri, path), shown_below=path)
        )
        return {"root_uri": run.artifact_uri, **files}

    async def get_of_run(self, request: Request) -> Response:
        """GET /get-artifact: a file of a run, which the UI shows or downloads."""
        query = request.query_params
        path = check_path_to_read(check_not_empty(query.get("path", ""), "path"))
        run_id = parse_run_id(query.get("run_id") or query.get("run_uuid") or "")
        run = await self._runs.get(caller_of(request), run_id.hex)
        return await file_response(self._files, locate(run.artifact_uri, path), request)

    async def get_of_version(self, request: Request) -> Response:
        """GET /model-versions/get-artifact: a file of a version of a registered model."""
        query = request.query_params
        path = check_path_to_read(check_not_empty(query.get("path", ""), "path"))
        name = check_not_empty(query.get("name", ""), "name")
        version = check_not_empty(query.get("version", ""), "version")
        location = await self._versions.storage_location(caller_of(request), name, version)
        return await file_response(self._files, locate(location, path), request)

    async def upload_to_run(self, request: Request) -> Response:
        """POST upload-artifact: the UI sends small files here."""
        query = request.query_params
        run_id, path = query.get("run_id") or query.get("run_uuid"), query.get("path")
        if not run_id:
            raise invalid("Request must specify run_id or run_uuid.")
        if not path:
            raise invalid("Request must specify path.")
        path, size = check_path(path), content_length(request)
        if size == 0:
            raise invalid("Request must specify data.")
        if size is not None and size > MAX_UI_UPLOAD_BYTES:
            raise invalid("Artifact size is too large. Max size is 10MB.")
        run = await self._runs.get(caller_of(request), parse_run_id(run_id).hex)
        body = request_chunks(request, at_most=MAX_UI_UPLOAD_BYTES)
        await self._files.write(caller_of(request), locate(run.artifact_uri, path), body, size=size)
        return Response()


async def no_multipart(_request: Request) -> Response:
    """Refuses a multipart upload; MLflow's clients then send the file in one piece through this service."""
    raise MlflowError("NOT_IMPLEMENTED", "Multipart upload is not supported for the current artifact repository")


async def no_multipart_download(_request: Request) -> Response:
    """Refuses a multipart download; MLflow's clients then read the file in one piece through this service."""
    raise MlflowError("NOT_IMPLEMENTED", "Multipart download is not supported for the current artifact repository")


async def no_presigned_upload(_request: Request) -> Response:
    """Refuses a presigned upload to a bucket; MLflow's clients then send the file through this service."""
    raise MlflowError("NOT_IMPLEMENTED", "Presigned upload is not supported for the current artifact repository")


async def no_presigned_download(_request: Request) -> Response:
    """Refuses a presigned download from a bucket; MLflow's clients then read the file through this service."""
    raise MlflowError("NOT_IMPLEMENTED", "Presigned download is not supported for the current artifact repository")


def locate(root_uri: str, path: str) -> str:
    """The path in this service's store of a file below an artifact URI. Raises MlflowError if it is in another store.

    Stock MLflow would fetch such a file with the server's own credentials, from wherever a caller made the URI point
    to.
    """
    root = path_of_uri(root_uri)
    if root is None:
        scheme = root_uri.partition(":")[0] if ":" in root_uri else "file"
        raise invalid(
            f"The artifacts are not in this server's store but at a {scheme[:20]!r} location, which this server does "
            "not read for its callers; read them from there directly."
        )
    return f"{root}/{path}".strip("/")


async def listing(files: FilesOfCaller, caller: Caller, path: str, *, shown_below: str = "") -> Answer:
    """A directory in the form of MLflow's list of files. Paths are relative to it, or begin with `shown_below`."""
    prefix = f"{shown_below}/" if shown_below else ""
    entries = [
        # As in MLflow, the size of an empty file is left out.
        without_unset(path=prefix + entry.name, is_dir=entry.is_directory, file_size=entry.size or None)
        for entry in await files.list(caller, path)
    ]
    return without_unset(files=entries)
