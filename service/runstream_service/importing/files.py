"""Imports the artifact files of runs and models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from runstream import errors
from runstream_service.importing.source import PlaceMissing, SourceError

if TYPE_CHECKING:
    from runstream_service.importing.progress import Progress
    from runstream_service.importing.records import FileOwner, SourceFile
    from runstream_service.importing.source import Source
    from runstream_service.importing.target import Target


class FileImporter:
    """Imports files. Safe to share between threads."""

    def __init__(self, source: Source, target: Target, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._progress = progress

    def import_files(self, owner: FileOwner, uri: str, label: str, *, is_new: bool, expected: bool) -> int:
        """Uploads the files of a run or model that the service does not have yet. `uri` is their place in the service;
        `expected`: whether the run or model should have files. Returns how many files the source has, or -1 if that is
        not known. Raises RunstreamError only if a repetition can help."""
        try:
            there = {} if is_new else self._target.files(uri)
            count = 0
            for file in self._source.files(owner):
                count += 1
                self._import_file(owner, file, uri, there.get(file.path), label)
        except PlaceMissing as error:
            if expected:
                self._progress.problem(f"{label}: its files are missing: {error}", about=f"expected {error.place}")
            else:
                self._progress.note(f"no files were imported: {error}", about=error.place)
            return -1
        except SourceError as error:
            self._progress.problem(f"{label}: its files cannot be read: {error}", about=str(error))
            return -1
        except errors.RunstreamError as error:
            if error.retryable:
                raise
            self._progress.problem(f"{label}: its files were not imported: {error}")
            return -1
        return count

    def _import_file(self, owner: FileOwner, file: SourceFile, uri: str, there: int | None, label: str) -> None:
        if there is not None:
            if there != file.size:
                self._progress.problem(
                    f"{label}: its file {file.path} has {there:,} bytes here, and {file.size:,} in the source; it "
                    "was left unchanged"
                )
            self._progress.add("files", is_new=False)
            return

        def content() -> Iterator[bytes]:
            with self._source.open_file(owner, file.path) as pieces:
                yield from pieces

        try:
            self._target.upload(uri, file.path, content, file.size)
        except (SourceError, errors.RunstreamError) as error:
            self._progress.problem(f"{label}: its file {file.path} was not imported: {error}")
            return
        self._progress.add("files")
        self._progress.add("bytes", file.size)
