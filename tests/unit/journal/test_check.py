from pathlib import Path

import pytest

from runstream.journal import Directory, JournalWriter, Position, RecordType
from runstream.journal import writer as writer_module
from runstream.journal.check import check, check_journal, find_journals
from runstream.journal.format import encode_declare, encode_json
from runstream.journal.reader import JournalReader
from tests.unit.journal.records import CREATE, batch, read_all, segments, with_version


@pytest.fixture
def writer(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> JournalWriter:
    monkeypatch.setattr(writer_module, "SEGMENT_BYTES", 1_300)
    writer = JournalWriter.create(directory, {**CREATE, "rank": 3, "attempt": 1})
    writer.append(RecordType.DECLARE, encode_declare(0, ["loss", "accuracy"]))
    writer.append(RecordType.PARAMS, encode_json({"lr": "0.1", "depth": "3"}))
    writer.append(RecordType.TAGS, encode_json({"team": "a"}))
    for number in range(1, 9):
        writer.append(RecordType.BATCH, batch(number))
    return writer


def snapshot(path: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_check_says_what_a_journal_has_and_changes_nothing(directory: Directory, writer: JournalWriter) -> None:
    Position(records=6, acknowledged_points=20, run_id="f" * 32, run_name="mlp-2").save(writer.path, durable=True)
    writer.append(RecordType.FINISH, encode_json({"status": "FINISHED"}))
    before = snapshot(directory.path)

    (found,) = check(directory.path)

    assert (found.id, found.run_id, found.name, found.rank, found.attempt) == (writer.id, "f" * 32, "mlp-2", 3, 1)
    assert (found.records, found.batches, found.points, found.keys, found.params, found.tags) == (13, 8, 80, 2, 2, 1)
    assert (found.settled_records, found.waiting_points) == (6, 60)
    assert (found.finished, found.status, found.writer_alive, found.is_damaged) == (True, "FINISHED", True, False)
    assert snapshot(directory.path) == before
    writer.close()


def test_a_check_counts_what_is_missing_by_sequences_and_batch_numbers(writer: JournalWriter) -> None:
    writer.close()
    segments(writer.path)[1].unlink()

    found = check_journal(writer.path)

    assert found.is_damaged
    assert found.missing_records == 12 - found.records
    assert found.missing_batches == 8 - found.batches
    assert found.missing_points_at_most == 1_000 * found.missing_batches


def test_deleted_segments_are_not_missing(writer: JournalWriter) -> None:
    reader = JournalReader(writer.path)
    last = read_all(reader)[-1].sequence
    Position(records=last).save(writer.path, durable=True)
    reader.delete_before(last + 1)

    found = check_journal(writer.path)

    assert len(segments(writer.path)) == 1
    assert (found.is_damaged, found.missing_batches, found.missing_records) == (False, 0, 0)
    assert (found.create["rank"], found.keys, found.waiting_points) == (3, 2, 0)
    writer.close()


def test_a_torn_last_record_is_reported_but_is_no_damage(writer: JournalWriter) -> None:
    writer.close()
    file = segments(writer.path)[-1]
    file.write_bytes(file.read_bytes()[:-3])

    found = check_journal(writer.path)

    assert [damage.torn for damage in found.damage] == [True]
    assert not found.is_damaged


def test_one_journal_of_many_that_cannot_be_read_does_not_stop_the_check(
    directory: Directory, writer: JournalWriter
) -> None:
    writer.close()
    newer = directory.journals_path / ("a" * 32)
    newer.mkdir()
    (newer / "00000001.seg").write_bytes(with_version(segments(writer.path)[0].read_bytes(), 9))
    (directory.journals_path / ("b" * 32)).mkdir()

    found = {checked.id: checked for checked in check(directory.path)}

    assert len(found) == 3
    assert found["a" * 32].newer_version == 9
    assert "update runstream" in found["a" * 32].error
    assert found["b" * 32].error == "it has no records"
    assert found[writer.id].points == 80


def test_records_with_the_payload_of_another_type_are_counted(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    writer.append(RecordType.PARAMS, b"no JSON")
    writer.append(RecordType.BATCH, b"short")
    writer.close()

    found = check_journal(writer.path)

    assert (found.unreadable, found.is_damaged) == (2, True)


def test_any_level_of_a_directory_can_be_named(directory: Directory, writer: JournalWriter) -> None:
    for path in (directory.path, directory.path / "v1", directory.journals_path, writer.path):
        assert find_journals(path) == [writer.path]
    with pytest.raises(FileNotFoundError):
        find_journals(directory.path / "elsewhere")
    writer.close()
