"""The artifact store: one interface for a directory and for buckets. Files are streamed, never in memory as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
import structlog
from obstore import exceptions
from obstore.store import LocalStore, MemoryStore, from_url

from runstream_service.artifacts.directory import Directory
from runstream_service.artifacts.paths import NO_ARTIFACTS
from runstream_service.artifacts.uploads import Uploads
from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.concurrency.threads import ThreadPool
from runstream_service.errors.core import (
    ArtifactNotFound,
    ArtifactsOff,
    CoreError,
    InvalidField,
    StoreFull,
    StoreRefuses,
    StoreUnavailable,
)
from runstream_service.errors.startup import StartupError

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ObjectStore

log = structlog.get_logger()

T = TypeVar("T")

READ_BYTES = 1 << 20
# Unfinished files older than this are deleted. No upload takes that long, since it fails when its client sends nothing
# for five minutes.
UNFINISHED_S = 24 * 3600.0
# A file operation that takes longer than this fails. It is below MLflow's own timeout of 120 s, so that its clients get
# the error.
STALLED_S = 100.0
# Blocking calls on a directory have a pool of their own, since a network file system may hang for hours.
_THREADS, _WAITING = 8, 256
# Also below MLflow's own timeout.
_RETRY = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NAME_TAKEN = {errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST}


@dataclass(frozen=True, slots=True)
class Parts:
    """The pieces in which uploads are written. Each upload has in memory a piece that fills, one that waits, and those
    that are being sent: in all 64 x 4 MiB for a directory, 20 x 15 MiB for a bucket (more for files beyond 45 GB)."""

    bytes: int
    at_once: int
    max_count: int
    max_uploads: int  # further ones wait without being read, or are refused and may be repeated


DIRECTORY_PARTS = Parts(bytes=1 << 20, at_once=2, max_count=1 << 40, max_uploads=64)
# S3 requires parts of at least 5 MiB, and at most 10,000 of them.
BUCKET_PARTS = Parts(bytes=5 << 20, at_once=1, max_count=9_000, max_uploads=20)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory in a listing. `size` is None for a directory."""

    name: str
    size: int | None

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory; otherwise it is a file."""
        return self.size is None


@dataclass(frozen=True, slots=True)
class Stat:
    """The size in bytes and the version of a file."""

    size: int
    etag: str


@dataclass(slots=True)
class Usage:
    """Number, size and age of the files below a directory."""

    files: int = 0
    size_bytes: int = 0
    newest: datetime = _LONG_AGO  # when a file was last written


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file that is being read, from byte `start` up to but not including `end`."""

    stat: Stat
    start: int
    end: int
    chunks: AsyncIterator[memoryview]


class ArtifactStore:
    """Paths must come from `check_path`. All methods also raise InvalidField, StoreRefuses and StoreUnavailable."""

    def __init__(
        self,
        store: ObjectStore,
        directory: Directory | None = None,
        *,
        writable: bool = True,
        stalled_s: float = STALLED_S,
    ) -> None:
        self._store = store
        self._directory = directory
        self._writable = writable
        self._stalled_s = stalled_s
        self._parts = BUCKET_PARTS if directory is None else DIRECTORY_PARTS
        self._uploads = Uploads(self._parts.max_uploads)
        self._threads = ThreadPool("the artifact store", threads=_THREADS, max_waiting=_WAITING)

    @classmethod
    def open(cls, location: str) -> ArtifactStore:
        """Opens a directory, which is created if missing, a bucket by its URL, or NO_ARTIFACTS. Raises StartupError."""
        if location == NO_ARTIFACTS:
            return cls(MemoryStore(), writable=False)  # it stays empty
        scheme, separator, _ = location.partition("://")
        if not separator:
            return cls._open_directory(Path(location))
        try:
            # Account, keys and endpoint come from the environment, under the names that the cloud's own tools use.
            return cls(from_url(location, retry_config=_RETRY))  # type: ignore[call-overload]  # one a cloud
        except (exceptions.BaseError, ValueError) as error:
            raise _startup_error(f"cannot use the {scheme} URL: {_first_line(error)}", "s3://bucket/prefix") from error

    @classmethod
    def _open_directory(cls, path: Path) -> ArtifactStore:
        try:
            directory = Directory.make(path)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise _startup_error(f"cannot write to {str(path)!r}: {why}", "/var/lib/runstream/artifacts") from error
        return cls(LocalStore(directory.root), directory)

    @property
    def writable(self) -> bool:
        """Whether there is a store (--artifacts is not none)."""
        return self._writable

    def delete_stale_uploads(self) -> None:
        """Deletes the unfinished files of killed uploads in a directory; for buckets, a lifecycle rule does that.

        Runs in a thread that nothing waits for: the directory may have millions of files.
        """
        if self._directory is not None:
            name = "delete stale uploads"
            threading.Thread(target=_delete_stale_uploads, args=(self._directory,), name=name, daemon=True).start()

    async def stat(self, path: str) -> Stat:
        """The size and the version of a file. Raises ArtifactNotFound."""
        await self._check_inside(path)
        with _translated(path):
            meta = await self._with_timeout(obstore.head_async(self._store, path))
        return Stat(meta["size"], meta["e_tag"] or "")

    async def read(self, path: str, *, start: int = 0, end: int | None = None) -> OpenedFile:
        """Begins to read a file, from byte `start` up to but not including `end`. Raises ArtifactNotFound."""
        await self._check_inside(path)
        options: GetOptions = {}
        if end is not None:
            options = {"range": (start, end)}
        elif start:
            options = {"range": {"offset": start}}
        with _translated(path):
            result = await self._with_timeout(obstore.get_async(self._store, path, options=options))
        stat = Stat(result.meta["size"], result.meta["e_tag"] or "")
        return OpenedFile(stat, *result.range, self._chunks(path, result))

    async def _chunks(self, path: str, result: obstore.GetResult) -> AsyncIterator[memoryview]:
        with _translated(path):
            chunks = aiter(result.stream(min_chunk_size=READ_BYTES))
            while (chunk := await self._with_timeout(anext(chunks, None))) is not None:
                yield memoryview(chunk)

    async def write(self, path: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        """Writes a file completely or not at all: when this returns, the file is on disk; when it raises, including an
        exception of `chunks`, there is no file. `size` in bytes is a hint.

        Raises:
            ArtifactsOff, StoreFull.
        """
        if not self._writable:
            raise ArtifactsOff(
                "This service stores no artifacts, so the file was not stored. Its operator can change that "
                "(--artifacts). Metrics, params and tags are stored."
            )
        async with self._uploads.slot() as upload:
            await self._check_inside(path)
            with _missing_bucket_refused(), _translated(path):
                await self._put(
                    path, upload.watched(chunks), max(self._parts.bytes, (size or 0) // self._parts.max_count)
                )
                if self._directory is not None:
                    await self._in_thread(self._directory.sync, path)

    async def _put(self, path: str, chunks: AsyncIterator[bytes], part_bytes: int) -> None:
        parts = _rechunk(chunks, part_bytes)
        first = await anext(parts, b"")
        if len(first) < part_bytes:
            # One request is enough for a bucket.
            await self._with_timeout(obstore.put_async(self._store, path, first, use_multipart=False))
            return
        feed = _Feed(first, parts)
        putting = obstore.put_async(
            self._store,
            path,
            feed,
            use_multipart=True,
            chunk_size=part_bytes,
            max_concurrency=self._parts.at_once,
        )
        await feed.until_written(asyncio.ensure_future(putting), self._stalled_s)

    async def list(self, path: str) -> list[Entry]:
        """The entries of a directory, by name; none if it is a file or does not exist."""
        await self._check_inside(path)
        with _translated(path):
            found = await self._with_timeout(obstore.list_with_delimiter_async(self._store, path or None))
            files = {meta["path"]: meta["size"] for meta in found["objects"]}
            paths = [*found["common_prefixes"], *files]
            if self._directory is not None:
                shown = await self._in_thread(self._directory.without_escaping_links, paths)
                paths = [one for one in paths if one in shown]
        return sorted(
            (Entry(one.rpartition("/")[2], files.get(one)) for one in paths if one != path), key=lambda one: one.name
        )

    async def usage(self, path: str) -> Usage:
        """The number, size and age of the files below a directory."""
        await self._check_inside(path)
        found = Usage()
        with _translated(path):
            pages = aiter(obstore.list(self._store, path))
            while (page := await self._with_timeout(anext(pages, None))) is not None:
                found.files += len(page)
                found.size_bytes += sum(meta["size"] for meta in page)
                found.newest = max([found.newest, *(meta["last_modified"] for meta in page)])
        return found

    async def delete(self, path: str) -> None:
        """Deletes a file, or a directory with everything below it; does nothing if it does not exist."""
        await self._check_inside(path)
        with _translated(path):
            if self._directory is not None:
                # The library would follow links in a directory, even those that lead out.
                await self._in_thread(self._directory.delete, path)
            else:
                await self._with_timeout(self._delete_objects(path))
        log.info("Deleted artifacts", action="artifact_deleted", path=path)

    async def _delete_objects(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, path)
        async for page in obstore.list(self._store, path):
            await obstore.delete_async(self._store, [meta["path"] for meta in page])

    async def _check_inside(self, path: str) -> None:
        if self._directory is not None:
            with _translated(path):
                await self._in_thread(self._directory.check_inside, path)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await self._with_timeout(self._threads.run(function, *arguments))

    async def _with_timeout(self, work: Awaitable[T]) -> T:
        """Waits for the store for `stalled_s` seconds. A thread that hangs is abandoned, and keeps its place in the
        pool until it returns."""
        return await with_timeout(work, self._stalled_s)


def _delete_stale_uploads(directory: Directory) -> None:
    count = directory.delete_unfinished(older_than_s=UNFINISHED_S)
    if count:
        log.info("Deleted the unfinished files of killed uploads", action="artifacts_tidied", files=count)


async def _rechunk(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in pieces of `size` bytes, the last one smaller. Chunks from a socket are small, and passing each
    piece to the library costs time."""
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) >= size:
            piece = bytes(memoryview(buffer)[:size])
            del buffer[:size]
            yield piece
            del piece
    if buffer:
        yield bytes(buffer)


class _Feed:
    """Feeds the pieces of a file to the library, and measures for how long the library has not taken the next one."""

    def __init__(self, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._first: bytes | None = first
        self._rest = rest
        self._handed_at: float | None = None  # None while the library waits for the next piece from the client

    def __aiter__(self) -> _Feed:
        return self

    async def __anext__(self) -> bytes:
        self._handed_at = None
        try:
            first, self._first = self._first, None
            return await anext(self._rest) if first is None else first
        finally:
            self._handed_at = time.monotonic()

    async def until_written(self, putting: asyncio.Future[Any], stalled_s: float) -> None:
        """Waits until the library has written the file. Raises TimeoutError if it takes no piece for `stalled_s`."""
        try:
            while not (await asyncio.wait([putting], timeout=min(1.0, stalled_s)))[0]:
                if self._handed_at is not None and time.monotonic() - self._handed_at > stalled_s:
                    raise TimeoutError
            await putting
        finally:
            putting.cancel()


@contextlib.contextmanager
def _missing_bucket_refused() -> Iterator[None]:
    """Turns ArtifactNotFound into StoreRefuses: when a file is written, it means that the bucket does not exist."""
    try:
        yield
    except ArtifactNotFound as error:
        raise _refused(error.__cause__ or error) from error


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    """Translates the library's exceptions; no other place does. Messages name no directory of the host."""
    try:
        yield
    except CoreError:
        raise
    except FileNotFoundError as error:
        raise ArtifactNotFound(f"No such artifact: '{path}'", field="path", subject=path) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError) as error:
        raise _refused(error) from error
    except TimeoutError as error:
        log.warning("The artifact store does not answer", action="artifact_store_stalled", path=path)
        raise StoreUnavailable("The artifact store does not answer in time; try again.") from error
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
            f"Invalid path: '{path}' or a part of it is a file where a directory is needed, or the other way round",
            field="path",
        )
    if number == errno.ENAMETOOLONG:
        return InvalidField("Invalid path: it is too long for the artifact store", field="path")
    log.warning("The artifact store failed", action="artifact_store_failed", error=_first_line(error))
    return StoreUnavailable("The artifact store failed; try again. The service's log has the reason.")


def _refused(error: BaseException) -> StoreRefuses:
    log.warning("The artifact store refuses this service", action="artifact_store_refused", error=_first_line(error))
    return StoreRefuses(
        "The artifact store refuses this service, because of its credentials or permissions, or because the bucket "
        "does not exist. Its operator finds the reason in the service's log."
    )


def _first_line(error: BaseException) -> str:
    """The first line of an error, since the library's messages contain pages of details."""
    return str(error).partition("\n")[0]


def _startup_error(message: str, example: str) -> StartupError:
    return StartupError(message, setting="--artifacts", example=example)
