"""Random lives of journals, with power cuts, kills and full disks in between, against what must come back.

`POWER_CUT_EXAMPLES=2000 .venv/bin/pytest tests/unit/journal/test_power_cuts.py` tries more of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from runstream.journal import Directory, JournalWriter, Position, RecordType
from runstream.journal.format import encode_declare, encode_json
from runstream.journal.reader import JournalReader
from tests.support.page_cache import PageCache
from tests.unit.journal.records import CREATE, batch, read_all

_SEGMENT_BYTES = 2_500  # so that journals of some records have several segments
_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the model needs no disk
_JOURNALS = st.integers(0, 1)


@dataclass
class Written:
    """The model of a journal: what was appended, how far it was synced, which positions were saved."""

    writer: JournalWriter | None
    payloads: dict[int, bytes]
    keys: dict[int, str] = field(default_factory=dict)
    synced: int = 0
    saved: list[int] = field(default_factory=lambda: [0])  # the last durable position, and all later ones
    settled: int = 0  # as far as the agent knows
    reader: JournalReader | None = None
    read: int = 0  # by the reader of the agent
    powered: bool = True  # no power cut yet: unsynced records exist as well

    def agent(self, path: Path, files: PageCache) -> JournalReader:
        """The agent's reader; a new one begins behind the position."""
        if self.reader is None:
            position = Position.load(path)
            self.settled = self.read = 0 if position is None else position.records
            self.reader = JournalReader(path, self.settled + 1, files=files)
        return self.reader


class _Full(Exception):
    """A full disk."""


class Journals(RuleBasedStateMachine):
    """One directory; several journals, each with a writer that may die; one agent."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="power-cuts-", dir=_IN_MEMORY))
        self.generation = 0
        self.root = self.base / "0"
        Directory(self.root).make()
        self.files = PageCache(self.root)
        self.written: dict[str, Written] = {}
        self.patch = mock.patch("runstream.journal.writer.SEGMENT_BYTES", _SEGMENT_BYTES)
        self.patch.start()

    def teardown(self) -> None:
        self.patch.stop()
        for written in self.written.values():
            if written.writer is not None:
                written.writer.close()
            if written.reader is not None:
                written.reader.close()
        shutil.rmtree(self.base)

    def path(self, journal_id: str) -> Path:
        return Directory(self.root).journals_path / journal_id

    def journal(self, number: int) -> tuple[Path, Written]:
        """One of the two journals that were begun last."""
        journal_id = list(self.written)[-2:][number % min(2, len(self.written))]
        return self.path(journal_id), self.written[journal_id]

    @initialize()
    def begin_the_first_journal(self) -> None:
        self.begin_a_journal()

    @rule()
    def begin_a_journal(self) -> None:
        journal_id = f"{len(self.written):032x}"
        journals = Directory(self.root).journals_path
        writer = JournalWriter.create_with(self.files, journals, journal_id, CREATE)
        self.written[journal_id] = Written(writer, {1: encode_json(CREATE)})

    @rule(number=_JOURNALS, points=st.sampled_from((0, 1, 20, 60)), times=st.sampled_from((1, 2, 5, 12)))
    def append(self, number: int, points: int, times: int) -> None:
        _path, written = self.journal(number)
        for _ in range(times if written.writer else 0):
            self._append(written, RecordType.BATCH, batch(len(written.payloads), points))

    @rule(number=_JOURNALS)
    def declare(self, number: int) -> None:
        _path, written = self.journal(number)
        index = len(written.payloads)
        if written.writer:
            self._append(written, RecordType.DECLARE, encode_declare(index, [f"key {index}"]))
            written.keys[index] = f"key {index}"

    @rule(number=_JOURNALS, free_bytes=st.integers(0, 3_000))
    def append_to_a_full_disk(self, number: int, free_bytes: int) -> None:
        _path, written = self.journal(number)
        self.files.free_bytes = free_bytes
        with contextlib.suppress(_Full):
            for _ in range(6 if written.writer else 0):
                self._append(written, RecordType.BATCH, batch(len(written.payloads), 40))
        self.files.free_bytes = None

    def _append(self, written: Written, kind: RecordType, payload: bytes) -> None:
        assert written.writer is not None
        before = written.writer.sequence
        try:
            sequence = written.writer.append(kind, payload)
        except OSError as error:
            if error.errno != errno.ENOSPC or written.writer.sequence != before:
                raise
            raise _Full from error
        assert sequence == before + 1
        written.payloads[sequence] = payload

    @rule(number=_JOURNALS)
    def sync(self, number: int) -> None:
        _path, written = self.journal(number)
        if written.writer:
            written.writer.sync()
            written.synced = written.writer.sequence

    @rule(number=_JOURNALS)
    def kill_the_writer(self, number: int) -> None:
        _path, written = self.journal(number)
        if written.writer:
            written.writer.close()
            written.writer = None

    @rule(number=_JOURNALS, max_bytes=st.sampled_from((1, 1_000, 5_000, 100_000)))
    def the_agent_reads(self, number: int, max_bytes: int) -> None:
        path, written = self.journal(number)
        if not path.exists():
            return
        for record in written.agent(path, self.files).read(max_bytes):
            assert record.sequence > written.read
            assert bytes(record.payload) == written.payloads[record.sequence]
            written.read = record.sequence

    @rule(
        number=_JOURNALS,
        share=st.sampled_from((0.0, 0.5, 1.0)),
        durable=st.booleans(),
        delete=st.booleans(),
        full=st.sampled_from((False, False, True)),
    )
    def the_agent_saves_its_position(self, number: int, share: float, durable: bool, delete: bool, full: bool) -> None:
        path, written = self.journal(number)
        if not path.exists():
            return
        reader = written.agent(path, self.files)
        written.settled += int((written.read - written.settled) * share)
        self.files.free_bytes = 0 if full else None
        try:
            Position(records=written.settled).save(path, durable, self.files)
            if durable:
                written.saved = []
                if delete:
                    reader.delete_before(written.settled + 1)
        except OSError:
            assert full
        written.saved.append(written.settled)
        self.files.free_bytes = None

    @rule(number=_JOURNALS)
    def the_agent_drains(self, number: int) -> None:
        self.the_agent_reads(number, 100_000)
        self.the_agent_saves_its_position(number, share=1.0, durable=True, delete=True, full=False)

    @rule(number=_JOURNALS)
    def the_agent_starts_again(self, number: int) -> None:
        _path, written = self.journal(number)
        if written.reader is not None:
            written.reader.close()
        written.reader = None

    @rule(random=st.randoms(use_true_random=False))
    def the_power_fails(self, random: Random) -> None:
        for written in self.written.values():
            if written.writer is not None:
                written.writer.close()
            if written.reader is not None:
                written.reader.close()
            written.writer = written.reader = None
            written.powered = False
        self.generation += 1
        before, self.root = self.root, self.base / str(self.generation)
        self.files.power_cut(self.root, random)
        shutil.rmtree(before)
        self.files = PageCache(self.root)
        for journal_id, written in self.written.items():
            self._check_position(journal_id, written)
        self.everything_that_was_synced_comes_back()

    def _check_position(self, journal_id: str, written: Written) -> None:
        position = Position.load(self.path(journal_id)) if self.path(journal_id).exists() else None
        found = 0 if position is None else position.records
        assert found in (written.saved if written.synced else [0, *written.saved])
        written.saved = [written.saved[0], found]  # it has survived one power cut, which does not make it durable

    @rule(seed=st.integers(0, 2**32))
    def a_busy_time(self, seed: int) -> None:
        """Many steps at once: single steps that Hypothesis chooses seldom get as far as deleted segments."""
        random = Random(seed)
        for _ in range(random.randint(20, 60)):
            self._one_step(random, random.randrange(2))

    def _one_step(self, random: Random, number: int) -> None:
        if all(written.writer is None for written in self.written.values()):
            self.begin_a_journal()
        points = random.choice((1, 20, 60))
        steps: list[tuple[float, Callable[[], None]]] = [
            (6, lambda: self.append(number, points, random.randint(1, 8))),
            (1, lambda: self.declare(number)),
            (1, lambda: self.append_to_a_full_disk(number, 20 * points)),
            (3, lambda: self.sync(number)),
            (3, lambda: self.the_agent_reads(number, random.choice((1, 1_000, 50_000)))),
            (1, lambda: self.the_agent_saves_its_position(number, random.random(), False, False, False)),
            (2, lambda: self.the_agent_drains(number)),
            (0.3, lambda: self.kill_the_writer(number)),
            (0.2, self.begin_a_journal),
            (1, lambda: self.the_power_fails(random)),
        ]
        random.choices([step for _, step in steps], [weight for weight, _ in steps])[0]()

    @invariant()
    def everything_that_was_synced_comes_back(self) -> None:
        for journal_id, written in self.written.items():
            path = self.path(journal_id)
            if not path.exists():
                assert not written.synced
                continue
            position = Position.load(path)
            self._check_reading(path, written, 0 if position is None else position.records)

    def _check_reading(self, path: Path, written: Written, settled: int) -> None:
        reader = JournalReader(path, settled + 1, quarantine=False)
        records = read_all(reader)
        found = [record.sequence for record in records]
        assert found == sorted(set(found))
        assert all(sequence > settled for sequence in found)
        assert all(bytes(record.payload) == written.payloads[record.sequence] for record in records)
        sure = max(written.payloads) if written.powered else written.synced
        assert set(range(settled + 1, sure + 1)) <= set(found)
        assert written.writer is not None or reader.is_complete()
        missing = set(range(settled + 1, max(found, default=settled))) - set(found)
        assert sum(damage.missing_records for damage in reader.damage) == len(missing)
        keys = {index: key for index, key in written.keys.items() if index <= sure - 1}
        assert keys.items() <= reader.keys.items() <= written.keys.items()
        if sure:
            assert reader.create == CREATE
        reader.close()


_EXAMPLES = int(os.environ.get("POWER_CUT_EXAMPLES", "40"))
TestJournals = Journals.TestCase
TestJournals.settings = settings(
    max_examples=_EXAMPLES, stateful_step_count=10, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@settings(max_examples=_EXAMPLES, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_after_any_sequence_of_events_the_journals_have_what_they_must(seed: int) -> None:
    journals = Journals()
    try:
        journals.begin_the_first_journal()
        for round_number in range(2):
            journals.a_busy_time(seed + round_number)
            journals.everything_that_was_synced_comes_back()
    finally:
        journals.teardown()
