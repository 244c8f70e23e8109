"""Real processes and real limits: writers that are killed, readers alongside living writers, full disks."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from runstream.journal import Directory, JournalWriter, Position, Record, RecordType
from runstream.journal import writer as writer_module
from runstream.journal.check import check_journal
from runstream.journal.files import OsFiles
from runstream.journal.format import Payload, decode_batch
from runstream.journal.reader import JournalReader
from tests.unit.journal.records import CREATE, batch, plain, read_all, segments

ROOT = Path(__file__).parents[3]


@contextlib.contextmanager
def writing(directory: Directory, segment_bytes: int, count: int) -> Iterator[subprocess.Popen[bytes]]:
    program = [sys.executable, "-m", "tests.unit.journal.writing_process"]
    arguments = [str(directory.path), str(segment_bytes), str(count)]
    with subprocess.Popen([*program, *arguments], stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def check_batches(records: list[Record]) -> None:
    """The records are whole, in order and without a gap."""
    assert [record.sequence for record in records] == list(range(1, len(records) + 1))
    for record in records[1:]:
        decoded = decode_batch(record.payload)
        assert bytes(record.payload) == batch(record.sequence - 1, decoded.point_count)


@pytest.mark.parametrize("attempt", range(6))
def test_what_a_killed_writer_has_appended_is_there(directory: Directory, attempt: int) -> None:
    with writing(directory, 10_000, 10**9) as process:
        assert process.stdout is not None
        path = directory.journals_path / process.stdout.readline().decode().strip()
        time.sleep(random.uniform(0, 0.2))  # the kill may hit any moment of an append
        os.kill(process.pid, signal.SIGKILL)
        acknowledged = len(process.stdout.readlines())
    reader = JournalReader(path)

    records = read_all(reader)

    assert len(records) - 1 >= acknowledged
    check_batches(records)
    assert reader.is_complete()
    assert all(damage.torn for damage in reader.damage)


def test_a_reader_alongside_a_writer_sees_only_whole_records(directory: Directory) -> None:
    count = 3_000
    with writing(directory, 100_000, count) as process:
        assert process.stdout is not None
        path = directory.journals_path / process.stdout.readline().decode().strip()
        os.set_blocking(process.stdout.fileno(), False)
        reader = JournalReader(path)
        records: list[Record] = []
        while not reader.is_complete():
            records += read_all(reader, random.choice((1, 5_000, 1 << 20)))
            process.stdout.read()
            reader.delete_before(records[-1].sequence if records else 1)
    assert len(records) == count + 1
    check_batches(records)
    assert reader.damage == []
    assert len(segments(path)) == 1


def test_an_append_that_does_not_fit_leaves_nothing_and_later_ones_continue(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "SEGMENT_BYTES", 100_000)
    writer = JournalWriter.create(directory, CREATE)
    sizes = [random.randrange(200) for _ in range(200)]
    with file_size_limit(30_000):
        with pytest.raises(OSError, match="too large"):
            append_batches(writer, 1, sizes)
        assert segments(writer.path)[-1].stat().st_size == writer.size_bytes
        writer.sync()
    append_batches(writer, writer.sequence, sizes[writer.sequence - 1 :])
    writer.close()

    reader = JournalReader(writer.path)
    records = read_all(reader)

    assert len(records) == 201
    check_batches(records)
    assert reader.damage == []


def append_batches(writer: JournalWriter, first: int, sizes: list[int]) -> None:
    for number, points in enumerate(sizes, first):
        writer.append(RecordType.BATCH, batch(number, points))


@contextlib.contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class FailingFiles(OsFiles):
    """A file system on which the operations in `broken` fail."""

    def __init__(self) -> None:
        self.broken: set[str] = set()

    def append(self, fd: int, parts: Sequence[Payload]) -> int:
        if "append" in self.broken:
            super().append(fd, [b"".join(parts)[:7]])
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().append(fd, parts)

    def truncate(self, fd: int, size: int) -> None:
        self._check("truncate")
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._check("sync")
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        self._check("rename")
        super().rename(old, new)

    def _check(self, name: str) -> None:
        if name in self.broken:
            raise OSError(errno.EIO, "Input/output error")


def test_half_an_append_that_could_not_be_taken_back_is_taken_back_later(directory: Directory) -> None:
    files = FailingFiles()
    writer = JournalWriter.create_with(files, directory.journals_path, "ab" * 16, CREATE)
    reader = JournalReader(writer.path)
    files.broken = {"append", "truncate"}
    for _ in range(2):
        with pytest.raises(OSError, match=r"No space|Input/output"):
            writer.append(RecordType.BATCH, batch(1))
    assert [record.sequence for record in read_all(reader)] == [1]

    files.broken = set()
    writer.append(RecordType.BATCH, batch(2))

    assert plain(read_all(reader)) == [(2, RecordType.BATCH, batch(2))]
    writer.close()
    assert reader.is_complete()
    assert reader.damage == []


def test_after_a_failed_sync_nothing_counts_as_durable(directory: Directory) -> None:
    files = FailingFiles()
    writer = JournalWriter.create_with(files, directory.journals_path, "ab" * 16, CREATE)
    files.broken = {"sync"}
    with pytest.raises(OSError, match="Input/output"):
        writer.sync()
    files.broken = set()

    with pytest.raises(OSError, match="a sync of the journal failed"):
        writer.sync()
    with pytest.raises(OSError, match="a sync of the journal failed"):
        writer.append(RecordType.BATCH, batch(1))
    assert len(read_all(JournalReader(writer.path))) == 1
    writer.close()


def test_a_segment_that_cannot_be_begun_is_tried_again(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SEGMENT_BYTES", 1_000)
    files = FailingFiles()
    writer = JournalWriter.create_with(files, directory.journals_path, "ab" * 16, CREATE)
    writer.append(RecordType.BATCH, batch(1))
    writer.append(RecordType.BATCH, batch(2))
    files.broken = {"rename"}
    with pytest.raises(OSError, match="Input/output"):
        writer.append(RecordType.BATCH, batch(3))
    files.broken = set()

    assert writer.append(RecordType.BATCH, batch(3)) == 4

    writer.close()
    reader = JournalReader(writer.path)
    check_batches(read_all(reader))
    assert reader.sequence == 4
    assert sorted(file.name for file in writer.path.iterdir()) == ["00000001.seg", "00000002.seg", "writer.lock"]


def test_a_closed_writer_refuses_records(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    writer.close()
    writer.close()

    with pytest.raises(OSError, match="closed"):
        writer.append(RecordType.BATCH, batch(1))
    with pytest.raises(OSError, match="closed"):
        writer.sync()


def test_a_full_disk_keeps_the_agent_neither_from_settling_nor_from_deleting(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "SEGMENT_BYTES", 1_000)
    writer = JournalWriter.create(directory, CREATE)
    append_batches(writer, 1, [10] * 12)
    files = FailingFiles()
    reader = JournalReader(writer.path, files=files)
    last = read_all(reader)[-1].sequence
    Position(records=1).save(writer.path, durable=True, files=files)
    before = len(segments(writer.path))
    files.broken = {"append"}

    Position(records=last).save(writer.path, durable=True, files=files)
    with pytest.raises(OSError, match="No space"):  # for the CREATE record, which has to be kept
        reader.delete_before(last + 1)

    assert Position.load(writer.path) == Position(records=last)
    assert before > 3
    assert len(segments(writer.path)) == 2
    assert not check_journal(writer.path).is_damaged
    files.broken = set()
    reader.delete_before(last + 1)
    assert len(segments(writer.path)) == 1
    assert JournalReader(writer.path, last + 1).create == CREATE
    writer.close()
