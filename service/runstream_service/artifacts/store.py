"""The artifact store: one interface over a directory and buckets. Nothing is ever whole in memory."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import structlog
from obstore import exceptions
from obstore.store import LocalStore, MemoryStore, from_url

from runstream_service.artifacts.directory import Directory
from runstream_service.cannot_start import CannotStart
from runstream_service.core.errors import (
    ArtifactNotFound,
    ArtifactsOff,
    CoreError,
    InvalidField,
    StoreFull,
    StoreRefuses,
    StoreUnavailable,
)
from runstream_service.settings import NO_ARTIFACTS

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ObjectStore

log = structlog.get_logger()

# What is in memory of one upload: a part that fills and those on their way. S3 takes parts from 5 MiB on, 10,000 of
# them at most.
PART_BYTES = 5 << 20
MAX_PARTS = 9_000
PARTS_AT_ONCE = 2
# Further ones wait, unread: their clients are held back by TCP.
MAX_UPLOADS = 16
READ_BYTES = 1 << 20
# No upload takes so long: a client that sends nothing for a minute is dropped.
UNFINISHED_S = 24 * 3600.0
# Below MLflow's own timeout of 120 s, so that its clients hear what is wrong.
_RETRY = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NAME_TAKEN = {errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory in a listing. `size` is None for a directory."""

    name: str
    size: int | None

    @property
    def is_directory(self) -> bool:
        """Else a file."""
        return self.size is None


@dataclass(frozen=True, slots=True)
class Stat:
    """What there is to know about a file without reading it."""

    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A file, or `start` to `end` (exclusive) of it, that is being read."""

    stat: Stat
    start: int
    end: int
    chunks: AsyncIterator[memoryview]


class ArtifactStore:
    """All paths are as `check_path` makes them; the methods raise InvalidField, StoreRefuses, StoreUnavailable too."""

    def __init__(self, store: ObjectStore, directory: Directory | None = None, *, writable: bool = True) -> None:
        self._store = store
        self._directory = directory
        self._writable = writable
        self._uploads = asyncio.Semaphore(MAX_UPLOADS)

    @classmethod
    def open(cls, location: str) -> ArtifactStore:
        """A directory, which is made, a bucket by URL, or NO_ARTIFACTS. Raises CannotStart."""
        if location == NO_ARTIFACTS:
            return cls(MemoryStore(), writable=False)  # it stays empty
        scheme, separator, _ = location.partition("://")
        if not separator:
            return cls._open_directory(Path(location))
        try:
            # The account, keys and endpoint are in the environment, under the names that the cloud's own tools read.
            return cls(from_url(location, retry_config=_RETRY))  # type: ignore[call-overload]  # one a cloud
        except (exceptions.BaseError, ValueError) as error:
            raise _cannot_start(f"cannot use the {scheme} URL: {_first_line(error)}", "s3://bucket/prefix") from error

    @classmethod
    def _open_directory(cls, path: Path) -> ArtifactStore:
        try:
            directory = Directory.make(path)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise _cannot_start(f"cannot write to {str(path)!r}: {why}", "/var/lib/runstream/artifacts") from error
        return cls(LocalStore(directory.root), directory)

    def tidy(self) -> None:
        """Deletes what killed uploads left in a directory, beside everything else; buckets do that by a rule of theirs.

        In a thread that nothing waits for: the directory may have millions of files.
        """
        if self._directory is not None:
            threading.Thread(target=_tidy, args=(self._directory,), name="tidy artifacts", daemon=True).start()

    async def stat(self, path: str) -> Stat:
        """Raises ArtifactNotFound."""
        await self._check_inside(path)
        with _translated(path):
            meta = await obstore.head_async(self._store, path)
        return Stat(meta["size"], meta["e_tag"] or "")

    async def read(self, path: str, *, start: int = 0, end: int | None = None) -> Reading:
        """Begins to read a file, from `start` to before `end`. Raises ArtifactNotFound."""
        await self._check_inside(path)
        options: GetOptions = {}
        if end is not None:
            options = {"range": (start, end)}
        elif start:
            options = {"range": {"offset": start}}
        with _translated(path):
            result = await obstore.get_async(self._store, path, options=options)
        stat = Stat(result.meta["size"], result.meta["e_tag"] or "")
        return Reading(stat, *result.range, self._chunks(path, result))

    async def _chunks(self, path: str, result: obstore.GetResult) -> AsyncIterator[memoryview]:
        with _translated(path):
            async for chunk in result.stream(min_chunk_size=READ_BYTES):
                yield memoryview(chunk)

    async def write(self, path: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        """Writes a file as a whole: it is there, on the disk, when this returns, and not at all when it raises, which
        includes whatever `chunks` raises. `size` is a hint.

        Raises:
            ArtifactsOff, StoreFull.
        """
        if not self._writable:
            raise ArtifactsOff(
                "This service keeps no artifacts, so nothing was stored; whoever runs it can let it (--artifacts). "
                "Metrics, params and tags are kept."
            )
        await self._check_inside(path)
        part_bytes = max(PART_BYTES, (size or 0) // MAX_PARTS)
        async with self._uploads:
            with _refusing_what_is_not_there(), _translated(path):
                parts = _regrouped(chunks, part_bytes)
                first = await anext(parts, b"")
                if len(first) < part_bytes:
                    # As a bucket does it in one request.
                    await obstore.put_async(self._store, path, first, use_multipart=False)
                else:
                    await obstore.put_async(
                        self._store,
                        path,
                        _after(first, parts),
                        use_multipart=True,
                        chunk_size=part_bytes,
                        max_concurrency=PARTS_AT_ONCE,
                    )
                if self._directory is not None:
                    await asyncio.to_thread(self._directory.sync, path)

    async def list(self, path: str) -> list[Entry]:
        """What is directly in a directory, by name; nothing if it is a file or is not there."""
        await self._check_inside(path)
        with _translated(path):
            found = await obstore.list_with_delimiter_async(self._store, path or None)
            files = {meta["path"]: meta["size"] for meta in found["objects"]}
            paths = [*found["common_prefixes"], *files]
            if self._directory is not None:
                shown = await asyncio.to_thread(self._directory.only_inside, paths)
                paths = [one for one in paths if one in shown]
        return sorted(
            (Entry(one.rpartition("/")[2], files.get(one)) for one in paths if one != path), key=lambda one: one.name
        )

    async def delete(self, path: str) -> None:
        """Deletes a file, or a directory with all that is below; does nothing if it is not there."""
        await self._check_inside(path)
        with _translated(path):
            if self._directory is not None:
                # The library follows links when it walks a directory, also those that lead out.
                await asyncio.to_thread(self._directory.delete, path)
            else:
                await self._delete_objects(path)
        log.info("Deleted artifacts", action="artifact_deleted", path=path)

    async def _delete_objects(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, path)
        async for page in obstore.list(self._store, path):
            await obstore.delete_async(self._store, [meta["path"] for meta in page])

    async def _check_inside(self, path: str) -> None:
        if self._directory is not None:
            await asyncio.to_thread(self._directory.check_inside, path)


def _tidy(directory: Directory) -> None:
    count = directory.delete_unfinished(older_than_s=UNFINISHED_S)
    if count:
        log.info("Deleted what killed uploads left", action="artifacts_tidied", files=count)


async def _regrouped(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in pieces of `size`, the last one smaller: what comes from a socket is small, and each piece
    crosses into another runtime."""
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) >= size:
            yield bytes(memoryview(buffer)[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


@contextlib.contextmanager
def _refusing_what_is_not_there() -> Iterator[None]:
    """What is not there when a file is written is the bucket."""
    try:
        yield
    except ArtifactNotFound as error:
        raise _refused(error.__cause__ or error) from error


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    """The one place where the library's exceptions become ours. What callers see names no directory of ours."""
    try:
        yield
    except CoreError:
        raise
    except FileNotFoundError as error:
        raise ArtifactNotFound(f"No such artifact: '{path}'", field="path", subject=path) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError) as error:
        raise _refused(error) from error
    except (exceptions.BaseError, OSError) as error:
        raise _error_of(error, path) from error


def _error_of(error: Exception, path: str) -> CoreError:
    found = _OS_ERROR.search(str(error))
    number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
    if number in _FULL:
        return StoreFull("The artifact store is full; nothing was stored.")
    if number in _REFUSED:
        return _refused(error)
    if number in _NAME_TAKEN:
        return InvalidField(
            f"Invalid path: '{path}' or a part of it is a file where a directory is asked for, or the other way round",
            field="path",
        )
    if number == errno.ENAMETOOLONG:
        return InvalidField("Invalid path: it is too long for the artifact store", field="path")
    log.warning("The artifact store fails", action="artifact_store_failed", error=_first_line(error))
    return StoreUnavailable("The artifact store does not answer as it should; try again.")


def _refused(error: BaseException) -> StoreRefuses:
    log.warning("The artifact store refuses", action="artifact_store_refused", error=_first_line(error))
    return StoreRefuses(
        "The artifact store refuses this service; whoever runs it finds in its log why: a bucket that is not there, "
        "credentials or permissions."
    )


def _first_line(error: BaseException) -> str:
    """The library's messages have pages of detail."""
    return str(error).partition("\n")[0]


def _cannot_start(message: str, example: str) -> CannotStart:
    return CannotStart(message, setting="--artifacts", example=example)
