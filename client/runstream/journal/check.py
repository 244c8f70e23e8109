"""Verifies journals and counts what is in them. It repairs nothing: no byte of the directory changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runstream.journal.directory import LAYOUT
from runstream.journal.format import MAX_BATCH_POINTS, NewerVersion, Record, RecordType, batch_number, decode_json
from runstream.journal.layout import segment_ordinals
from runstream.journal.position import Position
from runstream.journal.reader import Damage, JournalReader

_READ_BYTES = 4 * 1024 * 1024
_TRIES = 5  # read a journal again if an agent deleted segments meanwhile


@dataclass
class JournalCheck:
    """The content of one journal. Counts are those of the records that exist; earlier ones were settled and deleted."""

    path: Path
    id: str = ""
    error: str = ""  # why nothing could be read; empty otherwise
    newer_version: int = 0  # the version of a journal that only a newer release can read; 0 otherwise
    create: dict[str, Any] = field(default_factory=dict)  # the CREATE record; empty if it is damaged
    writer_alive: bool = False
    finished: bool = False  # there is a FINISH record
    status: str = ""  # the run's status in the FINISH record
    keys: int = 0  # declared series
    records: int = 0
    batches: int = 0
    points: int = 0
    params: int = 0  # entries
    tags: int = 0  # entries
    waiting_points: int = 0  # points in records above the position
    position: Position | None = None  # what the agent has settled; None if there is none, or it is damaged
    unknown: dict[int, int] = field(default_factory=dict)  # records of types that this release does not know, by type
    unreadable: int = 0  # records with the right checksum whose payload is not that of their type
    damage: list[Damage] = field(default_factory=list)
    missing_batches: int = 0  # at least this many, as the numbers of later ones show

    @property
    def run_id(self) -> str:
        """The id that the service has assigned; until it has answered, the one in the CREATE record."""
        return (self.position.run_id if self.position else "") or str(self.create.get("run_id", ""))

    @property
    def name(self) -> str:
        """The name of the run."""
        return (self.position.run_name if self.position else "") or str(self.create.get("name", ""))

    @property
    def rank(self) -> int:
        """The rank of the writer."""
        return int(self.create.get("rank", 0))

    @property
    def attempt(self) -> int:
        """The attempt of the writer."""
        return int(self.create.get("attempt", 0))

    @property
    def settled_records(self) -> int:
        """How many records, from the first one on, are settled and need not be sent any more."""
        return self.position.records if self.position else 0

    @property
    def missing_records(self) -> int:
        """How many records are certainly lost."""
        return sum(damage.missing_records for damage in self.damage)

    @property
    def missing_points_at_most(self) -> int:
        """The most points that the lost batches can have had; how many they had is lost with them."""
        return self.missing_batches * MAX_BATCH_POINTS

    @property
    def is_damaged(self) -> bool:
        """Whether something is wrong that a crash of the machine does not explain. (It does explain a torn last
        record.)"""
        return bool(self.error or self.unreadable or self.missing_batches) or any(
            not damage.torn for damage in self.damage
        )


def find_journals(path: Path) -> list[Path]:
    """The journals below a path, sorted: a directory of runstream, its `v1`, its `journals`, or a single journal.
    Raises FileNotFoundError if there is no such directory."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not a directory")
    if segment_ordinals(path):
        return [path]
    for parent in (path / LAYOUT / "journals", path / "journals", path):
        if parent.is_dir():
            return sorted(entry for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return []


def check(path: Path) -> Iterator[JournalCheck]:
    """Checks the journals that `find_journals` finds, one after another, and skips those that were settled and deleted
    meanwhile. Raises FileNotFoundError if the path itself does not exist, and nothing else."""
    for journal in find_journals(path):
        checked = check_journal(journal)
        if journal.exists():
            yield checked


def check_journal(path: Path) -> JournalCheck:
    """Reads all of a journal, up to what its writer has appended so far."""
    for _ in range(_TRIES):
        before = segment_ordinals(path)[:1]
        checked = _checked(path)
        if segment_ordinals(path)[:1] == before:  # otherwise segments were deleted while they were read
            break
    return checked


def _checked(path: Path) -> JournalCheck:
    found = JournalCheck(path, id=path.name, position=Position.load(path))
    try:
        reader = JournalReader(path, quarantine=False)
    except NewerVersion as error:
        found.error, found.newer_version = str(error), error.version
        return found
    except OSError as error:
        found.error = f"it cannot be read: {error}"
        return found
    with contextlib.closing(reader):
        found.id = reader.id
        found.create = reader.create
        found.writer_alive = reader.writer_alive()
        try:
            _count_records(reader, found)
        except (OSError, NewerVersion) as error:
            found.error = f"it can be read up to record {reader.sequence} only: {error}"
        found.keys = len(reader.keys)
        found.unknown = reader.unknown
        found.damage = [damage for damage in reader.damage if not _is_settled(damage, found.settled_records)]
    if not found.records and not found.create and not found.error and not found.damage:
        found.error = "it has no records"
    return found


def _count_records(reader: JournalReader, found: JournalCheck) -> None:
    begins_later = segment_ordinals(reader.path)[:1] != [1]  # the segments before were settled and deleted
    last_number: int | None = None if begins_later else 0
    while (records := reader.read(_READ_BYTES)) or not (reader.is_complete() or reader.writer_alive()):
        for record in records:
            found.records += 1
            try:
                if record.kind is RecordType.BATCH:
                    last_number = _count_batch(record, last_number, found)
                else:
                    _count_entries(record, found)
            except ValueError:
                found.unreadable += 1


def _count_batch(record: Record, last_number: int | None, found: JournalCheck) -> int:
    """Returns the number of the batch. `last_number` is that of the batch before it; None if it is unknown."""
    number, points = batch_number(record.payload)
    if last_number is not None and record.sequence > found.settled_records:
        found.missing_batches += max(0, number - last_number - 1)
    found.batches += 1
    found.points += points
    if record.sequence > found.settled_records:
        found.waiting_points += points
    return number


def _count_entries(record: Record, found: JournalCheck) -> None:
    value = decode_json(record.payload)
    if record.kind is RecordType.PARAMS:
        found.params += len(value)
    elif record.kind is RecordType.TAGS:
        found.tags += len(value)
    elif record.kind is RecordType.FINISH:
        found.finished = True
        found.status = str(value.get("status", ""))


def _is_settled(damage: Damage, settled_records: int) -> bool:
    """Whether all missing records were settled, as when an agent died while it deleted segments."""
    last_missing = damage.first_missing + damage.missing_records - 1
    return not damage.length and bool(damage.missing_records) and last_missing <= settled_records
