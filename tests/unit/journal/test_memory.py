import errno

import pytest

from runstream.journal import MemoryJournal, RecordType
from runstream.journal.format import encode_declare
from tests.unit.journal.records import CREATE, batch


def test_a_journal_in_memory_reads_like_one_on_disk() -> None:
    journal = MemoryJournal(CREATE)
    journal.append(RecordType.DECLARE, encode_declare(0, ["loss"]))
    for number in (1, 2, 3):
        journal.append(RecordType.BATCH, batch(number))
    journal.sync()

    first = journal.read(1)
    rest = journal.read(1 << 20)

    assert [record.sequence for record in first + rest] == [1, 2, 3, 4, 5]
    assert (journal.create, journal.keys) == (CREATE, {0: "loss"})
    assert journal.read(1 << 20) == []
    assert not journal.is_complete()
    journal.append(RecordType.FINISH, b"{}")
    assert [record.sequence for record in journal.read(1)] == [6]
    assert journal.is_complete()


def test_a_full_journal_in_memory_refuses_records_until_some_are_deleted() -> None:
    journal = MemoryJournal(CREATE, max_bytes=2_000)
    while journal.size_bytes + 400 < 2_000:
        journal.append(RecordType.BATCH, batch(1))
    with pytest.raises(OSError, match="full") as caught:
        journal.append(RecordType.BATCH, batch(1))
    assert caught.value.errno == errno.ENOSPC
    last = journal.sequence

    journal.delete_before(last)  # nothing was read yet
    with pytest.raises(OSError, match="full"):
        journal.append(RecordType.BATCH, batch(1))
    journal.read(1 << 20)
    journal.delete_before(last)

    assert journal.append(RecordType.BATCH, batch(1)) == last + 1
    assert [record.sequence for record in journal.read(1 << 20)] == [last + 1]


def test_a_closed_journal_in_memory_is_read_to_its_end() -> None:
    journal = MemoryJournal(CREATE)
    journal.close()

    assert not journal.is_complete()
    assert len(journal.read(1)) == 1
    assert journal.is_complete()
    with pytest.raises(OSError, match="closed"):
        journal.append(RecordType.BATCH, batch(1))
