"""Reads the artifact files of runs and models at their URIs: a directory of this machine, or a bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import from_url

from runstream_service.importing.records import FileOwner, SourceFile
from runstream_service.importing.source import PlaceMissing, SourceError

_PROXIED = "mlflow-artifacts"
_PIECE_BYTES = 1 << 20


class SourceFiles:
    """Lists and opens files. Safe to share between threads."""

    def __init__(self, base: Path | None, proxied: str = "") -> None:
        """`base`: the directory to which paths are relative. `proxied`: the directory, or the URL of the bucket, to
        which `mlflow-artifacts:/` refers; if empty, mlartifacts in `base`, which is the default of MLflow's server."""
        self._base = base or Path.cwd()
        default = self._base / "mlartifacts"
        self._proxied = proxied or (str(default) if default.is_dir() else "")

    def list(self, owner: FileOwner) -> Iterator[SourceFile]:
        """All files of a run or model. Raises SourceError if they cannot be listed."""
        place = self._place(owner)
        if isinstance(place, Path):
            yield from _files_below(place)
            return
        try:
            for page in place.list():
                yield from (SourceFile(one["path"], one["size"]) for one in page)
        except Exception as error:
            raise SourceError(f"{owner.uri} cannot be read: {error}") from error

    @contextmanager
    def open(self, owner: FileOwner, path: str) -> Iterator[Iterator[bytes]]:
        """The content of a file, in pieces. Raises SourceError."""
        place = self._place(owner)
        if isinstance(place, Path):
            try:
                with open(place / path, "rb") as file:
                    yield iter(lambda: file.read(_PIECE_BYTES), b"")
            except OSError as error:
                raise SourceError(f"{place / path}: {error.strerror or error}") from error
            return
        try:
            found = obstore.get(place, path)
        except Exception as error:
            raise SourceError(f"{owner.uri}/{path}: {error}") from error
        yield (bytes(piece) for piece in found.stream(min_chunk_size=_PIECE_BYTES))

    def _place(self, owner: FileOwner) -> Any:
        """The directory of the files, or a store of obstore. Raises SourceError."""
        uri = owner.uri
        parts = urlsplit(uri)
        if parts.scheme == _PROXIED:
            if not self._proxied:
                raise SourceError(
                    f"{uri}: the MLflow server stores its files elsewhere; name that place, the "
                    "--artifacts-destination of `mlflow server`, with --artifacts"
                )
            uri = f"{self._proxied.rstrip('/')}/{unquote(parts.path).lstrip('/')}"
            parts = urlsplit(uri)
        if parts.scheme in ("", "file"):
            return self._directory(unquote(parts.path) if parts.scheme else uri)
        try:
            return from_url(uri.partition("?")[0])
        except Exception as error:
            raise SourceError(f"{owner.uri} cannot be opened: {error}") from error

    def _directory(self, path: str) -> Path:
        """The directory at a path. It need not exist, because MLflow creates it for the first file; the directory of
        the experiment must. Raises PlaceMissing."""
        found = self._base / path
        if found.exists():
            return found
        if self._proxied:
            # Copied from another machine: experiment/run/artifacts, or experiment/models/model/artifacts.
            count = 4 if found.parent.parent.name == "models" else 3
            moved = Path(self._proxied, *found.parts[-count:])
            if moved.exists():
                return moved
        above = list(found.parents)
        if len(above) > 2 and not (above[1].exists() or above[2].exists()):
            place = str(above[2])
            raise PlaceMissing(
                f"the directory {place} is not on this machine; if the source has files, name their place with "
                "--artifacts, or leave them out with --no-files",
                place,
            )
        return found


def _files_below(directory: Path) -> Iterator[SourceFile]:
    for parent, _, names in os.walk(directory):
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file():
                yield SourceFile(path.relative_to(directory).as_posix(), path.stat().st_size)
