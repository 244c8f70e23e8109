"""Files of runs and models, from the source to the service's store."""

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
    """Safe to share between threads."""

    def __init__(self, source: Source, target: Target, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._progress = progress

    def bring(self, owner: FileOwner, uri: str, label: str, *, is_new: bool, expected: bool) -> int:
        """Brings the files of a run or model that are not there yet; `uri` is their place here. A file is stored as a
        whole or not at all. `expected`: whether something says that there are some. Returns how many the source has;
        -1 if it cannot say so."""
        try:
            there = {} if is_new else self._target.files(uri)
            count = 0
            for file in self._source.files(owner):
                count += 1
                self._bring_file(owner, file, uri, there.get(file.path), label)
        except PlaceMissing as error:
            if expected:
                self._progress.problem(f"{label}: its files are gone: {error}", about=f"expected {error.place}")
            else:
                self._progress.note(f"no files were brought: {error}", about=error.place)
            return -1
        except SourceError as error:
            self._progress.problem(f"{label}: its files are missing: {error}", about=str(error))
            return -1
        except errors.RunstreamError as error:
            if error.retryable:
                raise
            self._progress.problem(f"{label}: its files were not brought: {error}")
            return -1
        return count

    def _bring_file(self, owner: FileOwner, file: SourceFile, uri: str, there: int | None, label: str) -> None:
        if there is not None:
            if there != file.size:
                self._progress.problem(
                    f"{label}: its file {file.path} has {there:,} bytes here, and {file.size:,} in the source; it "
                    "stays so"
                )
            self._progress.add("files", is_new=False)
            return

        def content() -> Iterator[bytes]:
            with self._source.open_file(owner, file.path) as pieces:
                yield from pieces

        try:
            self._target.upload(uri, file.path, content, file.size)
        except (SourceError, errors.RunstreamError) as error:
            self._progress.problem(f"{label}: its file {file.path} was not brought: {error}")
            return
        self._progress.add("files")
        self._progress.add("bytes", file.size)
