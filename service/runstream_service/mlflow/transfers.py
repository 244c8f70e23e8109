"""Streams files over HTTP: the body of a request as chunks, and a file of the store as a response."""

from __future__ import annotations

import mimetypes
import re
import time
import unicodedata
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.errors.core import ArtifactNotFound
from runstream_service.http.callers import caller_of
from runstream_service.http.mlflow_errors import MlflowError, error_response, invalid
from runstream_service.http.protocol import PATIENT

if TYPE_CHECKING:
    from runstream_service.artifacts.files_of_caller import FilesOfCaller
    from runstream_service.artifacts.store import Stat
    from runstream_service.core.caller import Caller

# A client that sends nothing for this long is considered gone. A VPN takes a minute or two to reconnect.
IDLE_S = 300.0
# While a body stalls, an empty chunk is yielded this often, so that its upload can be ended to make room for another.
_STALL_CHECK_S = 2.0

_TEXT_EXTENSIONS = """
txt log err cfg conf cnf cf ini properties prop hocon toml yaml yml xml json js py py3 csv tsv md rst ipynb
MLmodel MLproject
"""
# MLflow shows these as text, whatever type the system's table has for them.
_TEXT = frozenset(_TEXT_EXTENSIONS.split())
_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")


async def request_chunks(request: Request, *, at_most: int | None = None) -> AsyncIterator[bytes]:
    """The chunks of a request's body, and an empty one whenever none has arrived for _STALL_CHECK_S.

    Raises:
        MlflowError: the client has disconnected, or has sent nothing for IDLE_S, or the body has more than `at_most`
            bytes.
    """
    request.scope[PATIENT] = True  # the time limits of the connection do not apply to files
    count, more, heard_at = 0, True, time.monotonic()
    while more:
        try:
            message = await with_timeout(request.receive(), _STALL_CHECK_S)
        except TimeoutError as error:
            if time.monotonic() - heard_at > IDLE_S:
                raise MlflowError("TEMPORARILY_UNAVAILABLE", f"No data arrived for {IDLE_S:.0f} seconds.") from error
            yield b""
            continue
        if message["type"] == "http.disconnect":
            raise MlflowError(
                "BAD_REQUEST", "The connection ended before the whole file had arrived."
            ) from ClientDisconnect()
        chunk, more, heard_at = message.get("body", b""), message.get("more_body", False), time.monotonic()
        count += len(chunk)
        if at_most is not None and count > at_most:
            raise invalid(f"Artifact size is too large. Max size is {at_most >> 20}MB.")
        if chunk:
            yield chunk


def content_length(request: Request) -> int | None:
    """The length of the body in bytes; None if the request does not have it."""
    text = request.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


async def file_response(files: FilesOfCaller, path: str, request: Request) -> Response:
    """A file, or the range that the request asks for. It is always an attachment, so that a browser does not execute it
    in the origin of this service.

    Raises:
        ArtifactNotFound.
        MlflowError: it is a directory.
    """
    try:
        return await (_head(files, path, request) if request.method == "HEAD" else _get(files, path, request))
    except ArtifactNotFound as error:
        if await files.list(caller_of(request), path):
            raise invalid(f"Artifact path refers to a directory, not a file: '{path}'") from error
        raise


async def _head(files: FilesOfCaller, path: str, request: Request) -> Response:
    stat = await files.stat(caller_of(request), path)
    return Response(headers={**_headers(path, stat), "content-length": str(stat.size)})


async def _get(files: FilesOfCaller, path: str, request: Request) -> Response:
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    if wanted is None or not (wanted["first"] or wanted["last"]):
        return await _answer(files, caller_of(request), path)
    stat = await files.stat(caller_of(request), path)
    if request.headers.get("if-range", stat.etag) != stat.etag:
        return await _answer(files, caller_of(request), path)
    start, end = _range(wanted["first"], wanted["last"], stat.size)
    if start >= end:
        refusal = error_response(invalid(f"The file has {stat.size} bytes; the requested range is beyond its end."))
        refusal.status_code = 416
        refusal.headers["content-range"] = f"bytes */{stat.size}"
        return refusal
    return await _answer(files, caller_of(request), path, start, end)


async def _answer(files: FilesOfCaller, caller: Caller, path: str, start: int = 0, end: int | None = None) -> Response:
    reading = await files.read(caller, path, start=start, end=end)
    headers = _headers(path, reading.stat)
    headers["content-length"] = str(reading.end - reading.start)
    if end is None:
        return StreamingResponse(reading.chunks, headers=headers)
    headers["content-range"] = f"bytes {reading.start}-{reading.end - 1}/{reading.stat.size}"
    return StreamingResponse(reading.chunks, 206, headers)


def _range(first: str, last: str, size: int) -> tuple[int, int]:
    """The positions of the first byte and of the one after the last, from those in the header (RFC 9110, 14.1.2)."""
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def _headers(path: str, stat: Stat) -> dict[str, str]:
    name = path.rpartition("/")[2]
    headers = {
        "content-type": media_type(name),
        "content-disposition": attachment(name),
        "x-content-type-options": "nosniff",
        "accept-ranges": "bytes",
    }
    return {**headers, "etag": stat.etag} if stat.etag else headers


def media_type(name: str) -> str:
    """The media type of a file, derived from its name as MLflow does for its UI."""
    extension = name.rpartition(".")[2] if "." in name.lstrip(".") else name
    if extension in _TEXT:
        return "text/plain"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def attachment(name: str) -> str:
    """The header Content-Disposition for a download under this name (RFC 6266)."""
    plain = name if name.isascii() else unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = plain or "download"
    if not _TOKEN.fullmatch(plain):
        escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
        plain = f'"{escaped}"'
    if name.isascii():
        return f"attachment; filename={plain}"
    return f"attachment; filename={plain}; filename*=UTF-8''{quote(name, safe='!#$&+-.^_`|~')}"
