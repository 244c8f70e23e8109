"""Checks sources of model versions: an external URI, or one below the run or logged model that the version names.

The checks are those of MLflow, and are needed for security: everybody who may load a version can read the files of its
source. So it must not be possible to register artifacts of others, or files of the machine that this service runs on.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import SplitResult, unquote, unquote_plus, urlsplit

from runstream_service.core.model_names import LATEST, MAX_SOURCE_CHARACTERS
from runstream_service.core.names import check_text
from runstream_service.errors.core import InvalidField

# Schemes with a host, which the caller would choose and everybody who downloads the version would contact. They are
# allowed only below the artifact location of the run or logged model, whose host is contacted anyway. This service
# itself contacts none of them.
_HOST_ADDRESSED = frozenset({"ftp", "sftp", "hdfs", "viewfs", "http", "https", "mlflow-artifacts", "r2", "b2", "abfss"})
_THIS_MACHINE = ("localhost", "127.0.0.1")
# Each round removes one layer of percent-encoding. More than a few layers are an attack.
_MAX_UNQUOTINGS = 16


@dataclass(frozen=True, slots=True)
class ModelUri:
    """A `models:/` URI: of a logged model, or of a version of a registered one by number, stage, alias or `latest`."""

    model_id: str = ""
    name: str = ""
    version: str = ""
    stage: str = ""
    alias: str = ""


def check_source(source: str) -> str:
    """Returns the source. Raises InvalidField if it is too long or cannot be stored, as for every kind of source."""
    return check_text(source, field="source", max_characters=MAX_SOURCE_CHARACTERS)


def parse_model_uri(source: str) -> ModelUri | None:
    """The parts of a `models:/` URI; None for any other URI. Raises InvalidField if it is malformed."""
    uri = _split(source)
    if uri.scheme != "models":
        return None
    if uri.netloc:
        raise InvalidField(
            f"Invalid model version source: '{source}'. Registered model sources must use the active model registry.",
            field="source",
        )
    # A fragment is part of the name here.
    path = source.partition(":")[2].partition("?")[0]
    parts = path.lstrip("/").split("/")
    if not path.startswith("/") or len(parts) > 2 or not all(part.strip() for part in parts):
        reject(source, "model_id")
    if len(parts) == 2:
        name, suffix = parts
        if suffix.isdigit():
            return ModelUri(name=name, version=suffix)
        return ModelUri(name=name) if suffix.lower() == LATEST else ModelUri(name=name, stage=suffix)
    name, at, alias = parts[0].rpartition("@")
    if not at:
        return ModelUri(model_id=parts[0])
    if not alias.strip():
        reject(source, "model_id")
    return ModelUri(name=name, alias=alias)


def check_below_run(source: str, run_id: str, location: str | None) -> None:
    """Checks the source of a version that names a run, or neither a run nor a logged model. `location`: where the
    artifacts of the run are; None if this service has no such run.

    Raises:
        InvalidField.
    """
    if is_local(source):
        if location is None or not is_local(location) or not _is_below_path(source, location):
            _reject_local(source, "run")
        return
    _check_plain(source)
    _check_host(source, location)
    uri = _split(source)
    if uri.scheme == "runs":
        if uri.netloc or not run_id or uri.path.lstrip("/").split("/")[0] != run_id:
            reject(source, "run_id")
    elif uri.scheme == "models":
        if (parsed := parse_model_uri(source)) is not None and parsed.model_id:
            reject(source, "model_id")
    elif _is_ours(source) and (location is None or not _is_below(source, location)):
        reject(source, "run_id")


def check_below_model(source: str, model_id: str, location: str | None) -> None:
    """Checks the source of a version that names a logged model. `location`: where the artifacts of the model are; None
    if there is no such model.

    Raises:
        InvalidField.
    """
    if is_local(source):
        if location is None or not is_local(location) or not _is_below_path(source, location):
            _reject_local(source, "model")
        return
    _check_plain(source)
    _check_host(source, location)
    parsed = parse_model_uri(source)
    if parsed is not None:
        if parsed.model_id and parsed.model_id != model_id:
            reject(source, "model_id")
    elif _split(source).scheme == "runs" or (
        _is_ours(source) and (location is None or not _is_below(source, location))
    ):
        reject(source, "model_id")


def is_local(uri: str) -> bool:
    """Whether a URI names a file of this machine. Raises InvalidField for a file URI with another host."""
    parts = _split(uri)
    if parts.scheme == "file":
        host = parts.hostname or ""
        if host and not host.startswith(_THIS_MACHINE):
            raise InvalidField(f"{uri} is not a valid remote uri.", field="source")
        return True
    return parts.scheme == ""


def reject(source: str, what: str) -> NoReturn:
    """Raises InvalidField, because the source does not belong to the run or model that the parameter `what` names."""
    raise InvalidField(
        f"Invalid model version source: '{source}'. The {what} request parameter must identify the resource that "
        "contains the source.",
        field="source",
    )


def _reject_local(source: str, what: str) -> NoReturn:
    raise InvalidField(
        f"Invalid model version source: '{source}'. To use a local path as a model version source, the {what}_id "
        "request parameter has to be specified and the local path has to be contained within the artifact directory "
        f"of the run specified by the {what}_id.",
        field="source",
    )


def _check_plain(source: str) -> None:
    """Checks that the path is absolute and has no `..`, in any layer of percent-encoding."""
    plain = _unquoted(source, unquote_plus)
    path = re.sub(r"/+", "/", _split(plain).path.rstrip("/"))
    if "\x00" in plain or ".." in plain.split("/") or not path.startswith("/") or posixpath.normpath(path) != path:
        raise InvalidField(
            f"Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp, "
            "objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references "
            "present. Please provide an absolute path.",
            field="source",
        )


def _check_host(source: str, location: str | None) -> None:
    uri = _split(source)
    if uri.scheme not in _HOST_ADDRESSED or (uri.scheme == "mlflow-artifacts" and not uri.netloc):
        return
    if location is None or not _is_below(source, location):
        raise InvalidField(
            f"'source' cannot use the '{uri.scheme}' scheme: it addresses a host other than the tracking server's "
            "artifact storage. It may only be a place below the artifacts of the run (run_id) or of the logged model "
            "(model_id) that the version names.",
            field="source",
        )


def _is_ours(source: str) -> bool:
    """Whether a source is in this service's own artifact store."""
    return _split(source).scheme == "mlflow-artifacts"


def _is_below(source: str, root: str) -> bool:
    inner, outer = _parts(source), _parts(root)
    return inner[:2] == outer[:2] and bool(outer[2]) and inner[2][: len(outer[2])] == outer[2]


def _parts(uri: str) -> tuple[str, str, list[str]]:
    split = _split(uri)
    return split.scheme, split.netloc.lower(), [_unquoted(part, unquote) for part in split.path.split("/") if part]


def _is_below_path(source: str, root: str) -> bool:
    inner, outer = (posixpath.normpath(unquote(_split(uri).path)) for uri in (source, root))
    return inner.startswith("/") and (inner + "/").startswith(outer + "/")


def _unquoted(text: str, unquoting: Callable[[str], str]) -> str:
    """The text without any layer of percent-encoding."""
    for _ in range(_MAX_UNQUOTINGS):
        if (plain := unquoting(text)) == text:
            return text
        text = plain
    raise InvalidField("Invalid model version source: it is quoted too often.", field="source")


def _split(uri: str) -> SplitResult:
    try:
        return urlsplit(uri)
    except ValueError as error:
        raise InvalidField(
            f"Invalid model version source: '{uri}'. It is not a URI: {error}.", field="source"
        ) from error
