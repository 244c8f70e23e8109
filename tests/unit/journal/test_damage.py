"""What a reader finds in files that a crash, a power cut or a bad disk has changed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstream.journal import Directory, JournalWriter, NewerVersion, Record, RecordType
from runstream.journal import writer as writer_module
from runstream.journal.format import SEGMENT_HEADER_BYTES, encode_declare, encode_json
from runstream.journal.reader import JournalReader
from tests.unit.journal.records import CREATE, batch, plain, read_all, segments, with_version

FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def journal(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal of a dead writer: three segments, eleven records."""
    monkeypatch.setattr(writer_module, "SEGMENT_BYTES", 1_300)
    writer = JournalWriter.create(directory, CREATE)
    writer.append(RecordType.DECLARE, encode_declare(0, ["loss"]))
    for number in range(1, 9):
        writer.append(RecordType.BATCH, batch(number))
    writer.append(RecordType.FINISH, encode_json({"status": "FINISHED"}))
    writer.close()
    assert len(segments(writer.path)) == 3
    return writer.path


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@contextlib.contextmanager
def restored_afterwards(path: Path) -> Iterator[None]:
    """A block that may change the files: all examples of a property begin with the same ones, also after one that
    Hypothesis abandons in the middle."""
    before = contents(path)
    try:
        yield
    finally:
        for name, content in before.items():
            (path / name).write_bytes(content)


def read(path: Path, *, quarantine: bool = False) -> tuple[list[Record], JournalReader]:
    reader = JournalReader(path, quarantine=quarantine)
    records = read_all(reader)
    assert reader.is_complete()
    assert read_all(reader) == []
    reader.close()
    return records, reader


@FEW
@given(data=st.data())
def test_a_flipped_bit_loses_one_record_at_most_and_is_reported(journal: Path, data: st.DataObject) -> None:
    whole = plain(read(journal)[0])
    with restored_afterwards(journal):
        file = data.draw(st.sampled_from(segments(journal)))
        place = data.draw(st.integers(0, file.stat().st_size - 1))
        changed = bytearray(file.read_bytes())
        changed[place] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(changed)

        records, reader = read(journal)
    found = plain(records)
    assert set(found) <= set(whole)
    assert len(found) >= len(whole) - 1
    assert found == sorted(found)
    assert reader.damage
    assert reader.damage[0].file == file.name
    missing = {sequence for sequence, *_ in whole} - {sequence for sequence, *_ in found}
    if missing != {len(whole)}:  # no later record shows that the last one is missing
        reported = [
            (damage.first_missing, damage.missing_records) for damage in reader.damage if damage.missing_records
        ]
        assert reported == [(sequence, 1) for sequence in missing]


@FEW
@given(data=st.data())
def test_garbage_anywhere_raises_nothing_and_invents_no_record(journal: Path, data: st.DataObject) -> None:
    whole = plain(read(journal)[0])
    with restored_afterwards(journal):
        for _ in range(data.draw(st.integers(1, 3))):
            file = data.draw(st.sampled_from(segments(journal)))
            content = bytearray(file.read_bytes())
            start = data.draw(st.integers(0, len(content)))
            garbage = data.draw(st.one_of(st.binary(max_size=600), st.integers(0, 5_000).map(bytes)))
            content[start : start + (len(garbage) if data.draw(st.booleans()) else 10_000)] = garbage
            file.write_bytes(content)

        found = plain(read(journal)[0])
    assert set(found) <= set(whole)
    assert found == sorted(set(found))


def test_a_record_that_is_cut_at_the_end_is_no_damage_of_what_was_synced(journal: Path) -> None:
    file = segments(journal)[-1]
    content = file.read_bytes()
    last = len(read(journal)[0])
    length = 20 + len(encode_json({"status": "FINISHED"}))
    for cut in range(1, length):
        file.write_bytes(content[:-cut])

        records, reader = read(journal, quarantine=True)

        assert len(records) == last - 1
        assert [damage.torn for damage in reader.damage] == [True]
        assert not (journal / "damaged").exists()


def test_zeros_at_the_end_are_what_a_power_cut_leaves(journal: Path) -> None:
    file = segments(journal)[-1]
    file.write_bytes(file.read_bytes() + bytes(4_096))

    records, reader = read(journal)

    assert len(records) == 11
    assert [damage.torn for damage in reader.damage] == [True]


def test_an_empty_last_segment_is_skipped(journal: Path) -> None:
    (journal / "00000004.seg").write_bytes(b"")

    records, reader = read(journal)

    assert len(records) == 11
    assert reader.damage == []


def test_an_empty_segment_in_the_middle_is_reported_with_what_is_missing(journal: Path) -> None:
    segments(journal)[1].write_bytes(b"")

    records, reader = read(journal)

    found = [record.sequence for record in records]
    (damage,) = reader.damage
    assert damage.missing_records == 11 - len(found)
    assert damage.first_missing not in found
    assert damage.first_missing - 1 in found


def test_a_segment_that_is_gone_is_reported_with_what_is_missing(journal: Path) -> None:
    segments(journal)[1].unlink()

    records, reader = read(journal)

    (damage,) = reader.damage
    assert damage.missing_records == 11 - len(records)


def test_segments_that_are_gone_before_the_position_are_not_reported(journal: Path) -> None:
    first = segments(journal)[0]
    boundary = JournalReader(journal)
    count = len(read_all(boundary))
    first.unlink()
    later = [record.sequence for record in read(journal)[0]]

    reader = JournalReader(journal, later[0])

    assert [record.sequence for record in read_all(reader)] == later
    assert reader.damage == []
    assert count > len(later)


def test_segments_that_are_gone_after_the_position_are_reported(journal: Path) -> None:
    segments(journal)[0].unlink()
    later = [record.sequence for record in read(journal)[0]]

    reader = JournalReader(journal, 3)
    read_all(reader)

    assert [(damage.first_missing, damage.missing_records) for damage in reader.damage] == [(3, later[0] - 3)]


def test_damaged_bytes_are_kept_with_an_explanation(journal: Path) -> None:
    file = segments(journal)[0]
    content = bytearray(file.read_bytes())
    content[SEGMENT_HEADER_BYTES + 500] ^= 1
    file.write_bytes(content)

    _records, reader = read(journal, quarantine=True)

    (damage,) = reader.damage
    copy = Path(damage.quarantined)
    assert copy.read_bytes() == content[damage.offset : damage.offset + damage.length]
    assert "checksum" in copy.with_suffix(".txt").read_text()
    assert file.read_bytes() == content


def test_damage_below_the_position_is_not_reported_again(journal: Path) -> None:
    file = segments(journal)[0]
    content = bytearray(file.read_bytes())
    content[SEGMENT_HEADER_BYTES + 500] ^= 1
    file.write_bytes(content)

    reader = JournalReader(journal, 6, quarantine=False)

    assert [record.sequence for record in read_all(reader)] == [6, 7, 8, 9, 10, 11]
    assert reader.damage == []


def test_the_last_segment_of_a_living_writer_is_not_checked_for_damage(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    writer.append(RecordType.BATCH, batch(1))
    file = segments(writer.path)[0]
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    reader = JournalReader(writer.path)

    assert [record.sequence for record in read_all(reader)] == [1]
    assert reader.damage == []

    file.write_bytes(whole)
    assert [record.sequence for record in read_all(reader)] == [2]
    writer.close()


def test_a_journal_of_a_newer_version_is_refused_and_left_alone(journal: Path) -> None:
    file = segments(journal)[0]
    file.write_bytes(with_version(file.read_bytes(), 2))
    before = contents(journal)

    with pytest.raises(NewerVersion, match=r"version 2, .* update runstream"):
        JournalReader(journal)

    assert contents(journal) == before


def test_a_version_in_a_header_with_a_wrong_checksum_is_damage(journal: Path) -> None:
    file = segments(journal)[0]
    content = bytearray(file.read_bytes())
    content[9:11] = b"\x01\x01"  # version 257, and a one where there is a zero
    file.write_bytes(content)

    records, reader = read(journal)

    assert len(records) == 11
    assert len(reader.damage) == 1


def test_unknown_types_are_skipped_and_counted(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    writer.append(17, b"of the future")  # type: ignore[arg-type]
    writer.append(RecordType.BATCH, batch(1))
    writer.close()

    records, reader = read(writer.path)

    assert [record.sequence for record in records] == [1, 3]
    assert reader.unknown == {17: 1}
    assert reader.damage == []


def test_a_damaged_kept_segment_is_reported_and_its_whole_records_are_used(journal: Path) -> None:
    reader = JournalReader(journal)
    read_all(reader)
    reader.delete_before(8)
    kept = journal / "00000000.seg"
    content = bytearray(kept.read_bytes())
    content[SEGMENT_HEADER_BYTES + 30] ^= 1  # in CREATE
    kept.write_bytes(content)

    again = JournalReader(journal, 8)

    assert again.keys == {0: "loss"}
    assert again.create == {}
    assert [damage.file for damage in again.damage] == [kept.name]
    assert [record.sequence for record in read_all(again)] == [8, 9, 10, 11]


def test_a_reader_of_a_directory_that_cannot_be_written_continues(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = segments(journal)[0]
    content = bytearray(file.read_bytes())
    content[SEGMENT_HEADER_BYTES + 500] ^= 1
    file.write_bytes(content)
    (journal / "damaged").write_text("in the way of the directory")  # permissions do not stop root

    records, reader = read(journal, quarantine=True)

    assert len(records) == 10
    assert [damage.quarantined for damage in reader.damage] == [""]
