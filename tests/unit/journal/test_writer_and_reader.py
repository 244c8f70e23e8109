import os
from pathlib import Path

import pytest

from runstream.journal import Directory, JournalWriter, RecordType
from runstream.journal.format import SEGMENT_BYTES, decode_batch, encode_declare, encode_json
from runstream.journal.reader import JournalReader
from tests.unit.journal.records import CREATE, batch, plain, read_all, segments


def test_records_come_back_as_they_were_appended(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    writer.append(RecordType.DECLARE, encode_declare(0, ["loss", "größe"]))
    writer.append(RecordType.BATCH, batch(1))
    writer.append(RecordType.FINISH, encode_json({"status": "FINISHED"}))
    writer.sync()

    reader = JournalReader(writer.path)
    records = read_all(reader)

    assert reader.create == CREATE
    assert reader.keys == {0: "loss", 1: "größe"}
    assert [(record.sequence, record.kind) for record in records] == [(1, 1), (2, 2), (3, 3), (4, 6)]
    assert decode_batch(records[2].payload).number == 1
    assert reader.finished
    assert reader.is_complete()
    assert reader.damage == []
    writer.close()


def test_a_reader_sees_what_is_appended_after_it_has_read_everything(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    reader = JournalReader(writer.path)
    assert len(read_all(reader)) == 1

    writer.append(RecordType.BATCH, batch(1))

    assert [record.sequence for record in read_all(reader)] == [2]
    assert not reader.is_complete()
    writer.close()
    assert reader.is_complete()


def test_segments_are_read_one_after_another(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    count = 3 * SEGMENT_BYTES // len(batch(1, 1_000))
    for number in range(1, count + 1):
        writer.append(RecordType.BATCH, batch(number, 1_000))
    writer.close()

    records = read_all(JournalReader(writer.path))

    assert [record.sequence for record in records] == list(range(1, count + 2))
    assert len(segments(writer.path)) == 4
    assert all(file.stat().st_size <= SEGMENT_BYTES for file in segments(writer.path))


def test_a_reader_begins_where_it_is_told_and_knows_the_keys_from_before(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    writer.append(RecordType.DECLARE, encode_declare(0, ["loss"]))
    for number in (1, 2, 3):
        writer.append(RecordType.BATCH, batch(number))

    reader = JournalReader(writer.path, from_sequence=4)

    assert [record.sequence for record in read_all(reader)] == [4, 5]
    assert reader.create == CREATE
    assert reader.keys == {0: "loss"}
    writer.close()


def test_keys_outlive_the_segments_that_declared_them(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    writer.append(RecordType.DECLARE, encode_declare(0, ["loss"]))
    number = 0
    while len(segments(writer.path)) < 3:
        writer.append(RecordType.BATCH, batch(number := number + 1, 1_000))
    writer.sync()
    reader = JournalReader(writer.path)
    last = read_all(reader)[-1].sequence

    reader.delete_before(last)

    assert len(segments(writer.path)) == 1
    again = JournalReader(writer.path, from_sequence=last)
    assert [record.sequence for record in read_all(again)] == [last]
    assert again.create == CREATE
    assert again.keys == {0: "loss"}
    assert again.damage == []
    writer.close()


def test_a_segment_with_an_unsettled_record_is_not_deleted(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    while len(segments(writer.path)) < 2:
        writer.append(RecordType.BATCH, batch(1, 1_000))
    reader = JournalReader(writer.path)
    read_all(reader)

    reader.delete_before(writer.sequence - 1)

    assert len(segments(writer.path)) == 2
    writer.close()


def test_a_read_returns_about_so_many_bytes_and_at_least_one_record(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    for number in range(1, 11):
        writer.append(RecordType.BATCH, batch(number, 1_000))
    reader = JournalReader(writer.path)

    assert len(reader.read(1)) == 1
    assert len(reader.read(1)) == 1
    assert len(reader.read(60_000)) == 3
    assert plain(read_all(reader, 1))[-1][0] == 11
    writer.close()


def test_a_forked_child_leaves_the_lock_and_the_journal_to_its_parent(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    pid = os.fork()
    if pid == 0:
        writer.abandon_in_child()
        os._exit(0)
    os.waitpid(pid, 0)
    reader = JournalReader(writer.path)

    assert reader.writer_alive()
    assert writer.append(RecordType.BATCH, batch(1)) == 2

    writer.close()
    assert not reader.writer_alive()


def test_a_journal_that_was_deleted_refuses_records_and_another_can_be_made(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    for file in writer.path.iterdir():
        file.unlink()
    writer.path.rmdir()

    with pytest.raises(FileNotFoundError, match="deleted"):
        writer.append(RecordType.BATCH, batch(1))

    writer.close()
    another = JournalWriter.create(directory, CREATE)
    assert another.append(RecordType.BATCH, batch(1)) == 2
    another.close()


def test_a_failed_creation_leaves_nothing(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: JournalWriter, _kind: RecordType, _payload: bytes) -> int:
        raise OSError("full")

    monkeypatch.setattr(JournalWriter, "append", refuse)

    with pytest.raises(OSError, match="full"):
        JournalWriter.create(directory, CREATE)

    assert list(Path(directory.journals_path).iterdir()) == []
