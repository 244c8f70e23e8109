"""The store over a real directory: whole files or none, and its errors in our words."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from runstream_service.artifacts import store as module
from runstream_service.artifacts.directory import Directory
from runstream_service.artifacts.store import DIRECTORY_PARTS, ArtifactStore, Entry
from runstream_service.errors import core as errors
from runstream_service.errors.startup import StartupError
from tests.support.polling import until

PART_BYTES = DIRECTORY_PARTS.bytes


async def pieces(*contents: bytes | Exception) -> AsyncIterator[bytes]:
    for content in contents:
        if isinstance(content, Exception):
            raise content
        yield content


async def content_of(store: ArtifactStore, path: str) -> bytes:
    reading = await store.read(path)
    return b"".join([bytes(chunk) async for chunk in reading.chunks])


@pytest.mark.parametrize(
    "sizes",
    [[], [0], [1], [PART_BYTES - 1], [PART_BYTES], [PART_BYTES + 1], [65_536] * 250],
    ids=["nothing", "empty", "byte", "below", "part", "above", "many"],
)
async def test_files_of_all_sizes_come_back(tmp_path: Path, sizes: list[int]) -> None:
    store = ArtifactStore.open(str(tmp_path))
    contents = [os.urandom(size) for size in sizes]
    await store.write("a/b.bin", pieces(*contents))
    assert await content_of(store, "a/b.bin") == b"".join(contents)
    assert (await store.stat("a/b.bin")).size == sum(sizes)


@pytest.mark.parametrize("before", [1, PART_BYTES, 3 * PART_BYTES + 1])
async def test_a_body_that_breaks_off_leaves_the_old_file_or_none(tmp_path: Path, before: int) -> None:
    store = ArtifactStore.open(str(tmp_path))
    await store.write("old.bin", pieces(b"old"))
    for path in ("old.bin", "new.bin"):
        with pytest.raises(ZeroDivisionError):
            await store.write(path, pieces(bytes(before), ZeroDivisionError()))
    assert await store.list("") == [Entry("old.bin", 3)]
    assert await content_of(store, "old.bin") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["old.bin"]


def test_what_killed_uploads_left_is_deleted_after_a_day(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    long_ago = time.time() - 2 * module.UNFINISHED_S
    for name, age in (("a/b/model.bin#1", long_ago), ("x#12", long_ago), ("a/new#1", time.time()), ("a/c", long_ago)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (age, age))
    assert Directory(tmp_path).delete_unfinished(older_than_s=module.UNFINISHED_S) == 2
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "a/c",
        "a/new#1",
    ]


async def test_a_killed_upload_has_the_name_that_is_tidied(tmp_path: Path) -> None:
    store, names = ArtifactStore.open(str(tmp_path)), list[str]()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield bytes(PART_BYTES)
            await until(lambda: any(tmp_path.iterdir()))
            names.extend(path.name for path in tmp_path.iterdir())

    await store.write("model.bin", body())
    assert set(names) == {"model.bin#1"}


async def test_two_uploads_of_one_file_leave_one_of_them_whole(tmp_path: Path) -> None:
    store = ArtifactStore.open(str(tmp_path))
    size = 2 * PART_BYTES
    bodies = [bytes([number]) * size for number in range(1, 5)]
    await asyncio.gather(*(store.write("one.bin", pieces(body)) for body in bodies))
    assert await content_of(store, "one.bin") in bodies
    assert [path.name for path in tmp_path.iterdir()] == ["one.bin"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            exceptions.GenericError("Generic error: No space left on device (os error 28)"),
            errors.StoreFull,
        ),
        (OSError(28, "No space left on device"), errors.StoreFull),
        (exceptions.GenericError("Read-only file system (os error 30)"), errors.StoreRefuses),
        (exceptions.PermissionDeniedError("x"), errors.StoreRefuses),
        (PermissionError(13, "x"), errors.StoreRefuses),
        (exceptions.GenericError("Is a directory (os error 21)"), errors.InvalidField),
        (FileNotFoundError("x"), errors.ArtifactNotFound),
        (exceptions.GenericError("connection refused"), errors.StoreUnavailable),
        (errors.StoreFull("x"), errors.StoreFull),
    ],
)
def test_errors_of_the_store_are_distinguished_and_name_no_directory_of_the_service(
    error: Exception, kind: type[errors.CoreError]
) -> None:
    with pytest.raises(kind) as caught, module._translated("a.txt"):
        raise error
    assert "os error" not in caught.value.message


def test_a_bucket_that_is_not_there_is_no_missing_file() -> None:
    with pytest.raises(errors.StoreRefuses), module._missing_bucket_refused(), module._translated("a.txt"):
        raise FileNotFoundError("NoSuchBucket")


def test_a_directory_that_cannot_be_written_refuses_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=r"--artifacts .*cannot write to .*Not a directory"):
        ArtifactStore.open(str(tmp_path / "file" / "below"))


def test_a_url_without_a_bucket_refuses_the_start() -> None:
    with pytest.raises(StartupError, match=r"--artifacts .*cannot use the s3 URL"):
        ArtifactStore.open("s3:///prefix")


@pytest.mark.parametrize(
    ("url", "kind", "bucket", "prefix"),
    [
        ("s3://bucket/prefix", S3Store, "bucket", "prefix"),
        ("gs://bucket", GCSStore, "bucket", None),
        ("az://container/a/b", AzureStore, "container", "a/b"),
    ],
)
def test_buckets_are_opened_without_a_request(
    url: str, kind: type[Any], bucket: str, prefix: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is there, and none answers: nothing is sent before the first file."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    opened = ArtifactStore.open(url)
    assert opened.writable
    store: Any = opened._store
    assert isinstance(store, kind)
    assert bucket in store.config.values()
    assert store.prefix == prefix


class HungDirectory(Directory):
    """A directory on a network file system that does not answer until it is released."""

    released = threading.Event()

    def check_inside(self, path: str) -> None:
        self.released.wait(60)


async def test_a_file_system_that_hangs_costs_its_callers_an_answer_and_others_no_thread(tmp_path: Path) -> None:
    store = ArtifactStore(LocalStore(tmp_path), HungDirectory(tmp_path), stalled_s=0.2)
    try:
        asked = [store.list("a"), store.stat("a"), store.read("a"), store.delete("a"), store.write("a", pieces(b"x"))]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(answer) for answer in answers] == [errors.StoreUnavailable] * len(asked)
        # asyncio's own threads are free, those of roll-up and reads too.
        assert await asyncio.wait_for(asyncio.to_thread(sum, [1, 2]), 10) == 3
    finally:
        HungDirectory.released.set()


async def test_a_bucket_that_takes_no_more_parts_ends_the_upload(tmp_path: Path) -> None:
    """The library asks for the next piece only when it has written one."""
    feed = module._Feed(b"first", pieces(b"second"))
    putting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    assert await anext(feed) == b"first"
    with pytest.raises(TimeoutError):
        await feed.until_written(putting, 0.05)
    assert putting.cancelled()
