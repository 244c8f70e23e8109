"""Names of files in the store: makes a path that cannot lead out of the store from the text of a caller."""

from __future__ import annotations

import pathlib
import re
from urllib.parse import unquote, urlsplit

from runstream_service.errors.core import ArtifactNotFound, InvalidField

# What `--artifacts` accepts besides a directory.
BUCKET_SCHEMES = ("s3", "gs", "az", "abfss")
NO_ARTIFACTS = "none"

# The name of an object in a bucket has at most 1,024 bytes, including the operator's prefix.
MAX_PATH_BYTES = 950
# The limit of a directory is 255 bytes; while a file is written, its name has a few bytes more.
MAX_NAME_BYTES = 250
# Each round removes one layer of percent encoding. No legitimate caller needs this many.
_MAX_ROUNDS = 10
_CONTROL = re.compile(r"[\x01-\x1f\x7f]")
# '#' begins a fragment for MLflow's clients, which refuse a whole listing that contains one; a backslash is a separator
# for clients on Windows; and no store accepts the other characters.
_REFUSED = re.compile(r"[#\\\x00\ud800-\udfff]")
_ROUTE = "/mlflow-artifacts/artifacts/"


class PathTooLong(InvalidField):
    """No store can keep a file with this name."""


def check_path(text: str, *, may_be_root: bool = False) -> str:
    """The path of a file or directory below the store's root, without empty and `.` segments.

    As in MLflow, percent encoding is decoded until none is left, and control characters are encoded: its clients do the
    same with the names in a listing.

    Raises:
        InvalidField: it would lead out of the root, or no store can keep it.
        PathTooLong: it is valid, but too long (a subclass of InvalidField).
    """
    path = _CONTROL.sub(lambda found: f"%{ord(found[0]):02x}", _decoded(text))
    if (
        _REFUSED.search(path)
        or path.startswith(("/", "file:"))
        or pathlib.PureWindowsPath(path).is_absolute()
        or ".." in path.split("/")
    ):
        raise _invalid()
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    if not segments and not may_be_root:
        raise _invalid()
    joined = "/".join(segments)
    if len(joined.encode()) > MAX_PATH_BYTES or any(len(segment.encode()) > MAX_NAME_BYTES for segment in segments):
        raise PathTooLong(
            f"Invalid path: it may have at most {MAX_PATH_BYTES} bytes, and {MAX_NAME_BYTES} between two slashes",
            field="path",
        )
    return joined


def check_path_to_read(text: str) -> str:
    """The path of a file that is to be read. As in MLflow, no file has a path that is too long.

    Raises:
        InvalidField, ArtifactNotFound.
    """
    try:
        return check_path(text)
    except PathTooLong as error:
        raise ArtifactNotFound(f"No such artifact: '{text[:80]}...', whose path is too long", field="path") from error


def check_path_to_list(text: str) -> str | None:
    """The path of a directory that is to be listed; None if it is too long, so that the listing is empty.

    Raises:
        InvalidField.
    """
    try:
        return check_path(text, may_be_root=True)
    except PathTooLong:
        return None


def path_of_uri(uri: str) -> str | None:
    """The path in this store of the root of a run's or a model's files; None if the URI points elsewhere.

    Raises:
        InvalidField: it is a URI of this service's artifacts, but its path is invalid.
    """
    parts = urlsplit(uri)
    if parts.scheme == "mlflow-artifacts":
        return check_path(parts.path.lstrip("/"), may_be_root=True)
    if parts.scheme in ("http", "https") and _ROUTE in parts.path:
        return check_path(parts.path.partition(_ROUTE)[2], may_be_root=True)
    return None


def _decoded(text: str) -> str:
    for _ in range(_MAX_ROUNDS):
        decoded = unquote(text)
        if decoded == text:
            return text
        text = decoded
    raise _invalid()


def _invalid() -> InvalidField:
    return InvalidField("Invalid path", field="path")  # MLflow's message
