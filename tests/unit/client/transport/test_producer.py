"""The producer against a model of the service: acks that are lost, streams that break, processes that die, databases
that are restored, runs that are deleted, journals with holes. Every point is stored once, or counted."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runstream.transport.producer import Batch, Event, Producer
from runstream.transport.settled import Outcome, SettledRecords
from tests.support.examples import examples


class Database:
    """The ledger and what is stored, by number in the journal."""

    def __init__(self) -> None:
        self.committed: dict[bytes, int] = {}
        self.stored: list[int] = []

    def copy(self) -> Database:
        other = Database()
        other.committed, other.stored = dict(self.committed), list(self.stored)
        return other


def batch_of(sequence: int, number: int) -> Batch:
    return Batch(sequence, number, 1 + number % 3, 0, b"", b"", b"", b"")


class ProducerAndService(RuleBasedStateMachine):
    """One journal, one producer after another, one service."""

    @initialize()
    def begin(self) -> None:
        self.ids = itertools.count(1)
        self.journal: list[Batch] = []  # what can be read
        self.next_number = self.next_sequence = 1
        self.database = Database()
        self.snapshot = Database()
        self.content: dict[tuple[bytes, int], int] = {}  # number in the journal of every id and number ever sent
        self.lost: set[int] = set()  # stored, and gone with a restored database
        self.deleted = False
        self.restarts = 0
        self.saved = (b"\0" * 16, 1, SettledRecords(), "")
        self._restart()

    def _restart(self) -> None:
        producer, first, settled, refusing = self.saved
        self.settled = SettledRecords(settled.records, settled.acknowledged_points, settled.refused)
        self.events: list[Event] = []
        self.producer = Producer(
            self.settled,
            producer,
            lambda: next(self.ids).to_bytes(16, "big"),
            first=first,
            refusing=refusing,
            on_event=lambda event, count: self.events.append(event),
        )
        self.read = sum(batch.sequence <= settled.records for batch in self.journal)  # how many batches were read
        self.open_id: bytes | None = None
        self.sent: list[tuple[int, int]] = []  # wire number, number: under way to the service

    # The trainer.

    @rule(count=st.integers(1, 5))
    def append(self, count: int) -> None:
        for _ in range(count):
            self.journal.append(batch_of(self.next_sequence, self.next_number))
            self.next_number += 1
            self.next_sequence += 1

    @rule(missing=st.integers(1, 3))
    def lose_batches_of_the_journal(self, missing: int) -> None:
        self.next_number += missing
        self.next_sequence += missing

    @rule(count=st.integers(1, 3), kept=st.integers(0, 3))
    def lose_power(self, count: int, kept: int) -> None:
        """A power cut takes batches that are not on disk, which the agent may have sent, and leaves some behind them.
        What is settled for good is on disk."""
        self.die()
        end = max(len(self.journal) - kept, 0)
        begin = max(end - count, sum(batch.sequence <= self.settled.records for batch in self.journal))
        del self.journal[begin:end]

    # The agent.

    @rule(count=st.integers(1, 4))
    def take(self, count: int) -> None:
        for batch in self.journal[self.read : self.read + count]:
            if self.producer.at_hole:
                return
            self.settled.expect(batch.sequence)
            self.producer.take(batch)
            self.read += 1
            if self.open_id not in (None, self.producer.id):  # a hole
                self.cut()

    @rule()
    def save(self) -> None:
        settled = SettledRecords(self.settled.records, self.settled.acknowledged_points, self.settled.refused)
        self.saved = (self.producer.id, self.producer.first, settled, self.producer.refusing)
        self.producer.id_saved(self.producer.id)

    @rule()
    def die(self) -> None:
        self.restarts += 1
        self._restart()

    @precondition(lambda self: self.open_id is None and self.producer.may_open and not self.deleted)
    @rule(stale=st.booleans())
    def open(self, stale: bool) -> None:
        producer, first_unacked = self.producer.opening()
        database = self.snapshot if stale else self.database
        committed = database.committed.get(producer, 0)
        if committed + 1 < first_unacked:
            self.producer.data_loss()
        elif not stale and self.producer.opened(committed, whole=False):
            self.open_id = producer
        else:
            self.producer.closed()

    @precondition(lambda self: self.open_id is not None)
    @rule(size=st.integers(1, 2_000))
    def send(self, size: int) -> None:
        assert self.open_id == self.producer.id
        for batch in self.producer.next_batches(size, 3_000):
            wire = self.producer.wire_number(batch)
            assert self.content.setdefault((self.producer.id, wire), batch.number) == batch.number
            self.sent.append((wire, batch.number))

    @precondition(lambda self: self.open_id is None and not self.deleted)
    @rule(new=st.integers(0, 4), save=st.booleans(), commit=st.integers(0, 4), acknowledge=st.booleans())
    def stream(self, new: int, save: bool, commit: int, acknowledge: bool) -> None:
        """What happens most of the time, in one step: without it, few examples get far."""
        if new:
            self.append(new)
        self.take(10)
        if save:
            self.save()
        for _ in range(2):  # the first one may only learn that data is lost
            if self.open_id is None and self.producer.may_open:
                self.open(stale=False)
        if self.open_id is None:
            return
        self.send(10_000)
        self.commit(commit)
        if acknowledge:
            self.acknowledge()

    # The service.

    @precondition(lambda self: self.open_id is not None and not self.deleted)
    @rule(count=st.integers(1, 5))
    def commit(self, count: int) -> None:
        assert self.open_id is not None
        for wire, number in self.sent[:count]:
            committed = self.database.committed.get(self.open_id, 0)
            assert wire <= committed + 1, "a gap"
            if wire == committed + 1:
                self.database.committed[self.open_id] = wire
                self.database.stored.append(number)
        del self.sent[:count]

    @precondition(lambda self: self.open_id is not None)
    @rule()
    def acknowledge(self) -> None:
        assert self.open_id is not None
        self.producer.acknowledged(self.database.committed.get(self.open_id, 0))
        if self.open_id != self.producer.id:  # everything before a hole is settled
            self.cut()

    @rule()
    def cut(self) -> None:
        self.open_id = None
        self.sent.clear()
        self.producer.closed()

    @rule()
    def back_up(self) -> None:
        self.snapshot = self.database.copy()

    @rule()
    def restore_an_older_database(self) -> None:
        self.cut()
        self.lost |= set(self.database.stored) - set(self.snapshot.stored)
        self.database = self.snapshot.copy()

    @precondition(lambda self: not self.deleted)
    @rule()
    def delete_the_run(self) -> None:
        self.deleted = True
        self.cut()
        self.producer.refuse("run_deleted")

    @precondition(lambda self: self.deleted)
    @rule()
    def restore_the_run(self) -> None:
        self.deleted = False
        self.producer.accept()

    # What is always true.

    @invariant()
    def nothing_is_stored_twice(self) -> None:
        assert max(Counter(self.database.stored).values(), default=0) <= 1

    @invariant()
    def what_is_settled_is_stored_or_counted(self) -> None:
        """Each record of the prefix: its points were acknowledged or refused, in sum as many as there are."""
        points = sum(batch.points for batch in self.journal if batch.sequence <= self.settled.records)
        assert points == self.settled.acknowledged_points + sum(self.settled.refused.values())

    @invariant()
    def nothing_in_memory_is_forgotten(self) -> None:
        assert self.producer.buffered_bytes >= self.producer.in_flight_bytes >= 0

    def teardown(self) -> None:
        """The faults end: everything arrives."""
        if not hasattr(self, "producer"):
            return
        if self.deleted:
            self.restore_the_run()
        self.cut()
        for _ in range(10 * len(self.journal) + 20):
            self.take(1_000)
            if self.open_id is not None and self.open_id != self.producer.id:
                self.cut()
            if self.open_id is None:
                self.save()
                self.open(stale=False)
                continue
            self.send(10_000)
            self.commit(1_000)
            self.acknowledge()
        assert not self.journal or self.settled.records == self.journal[-1].sequence
        stored = set(self.database.stored)
        missing = {batch.number for batch in self.journal} - stored - self.lost
        refused = self.settled.refused.get("run_deleted", 0)
        assert sum(1 + number % 3 for number in missing) <= refused
        self.nothing_is_stored_twice()
        if not self.restarts:
            assert self.producer.lost_acknowledged <= sum(1 + number % 3 for number in self.lost - stored)


TestProducerAndService = pytest.mark.timeout(300)(ProducerAndService.TestCase)
TestProducerAndService.settings = settings(
    max_examples=examples(80), stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_producer_resumes_after_what_the_service_has() -> None:
    settled = SettledRecords()
    producer = Producer(settled, b"a" * 16, lambda: b"b" * 16)
    for number in range(1, 5):
        settled.expect(number)
        producer.take(batch_of(number, number))
    assert producer.opening() == (b"a" * 16, 1)
    assert producer.opened(2, whole=False)
    assert settled.records == 2
    assert [batch.number for batch in producer.next_batches(10_000, 10_000)] == [3, 4]


@pytest.mark.parametrize(("committed", "sent_again"), [(5, []), (4, [5]), (3, [5]), (2, [5])])
def test_after_a_hole_only_what_the_service_does_not_have_is_sent(committed: int, sent_again: list[int]) -> None:
    """A power cut tore batches 3 and 4 out of the journal; some of them, or 5 as well, were sent before."""
    settled = SettledRecords()
    producer = Producer(settled, b"a" * 16, lambda: b"b" * 16)
    for number in (1, 2, 5):
        settled.expect(number)
        producer.take(batch_of(number, number))
    assert producer.at_hole
    assert producer.opening() == (b"a" * 16, 1)
    is_same = committed >= 4
    assert producer.opened(committed, whole=False) == is_same
    if not is_same:
        producer.id_saved(b"b" * 16)
        assert producer.opening() == (b"b" * 16, 1)
        assert producer.opened(0, whole=False)
    assert [batch.number for batch in producer.next_batches(10_000, 10_000)] == sent_again
    assert not producer.lost_acknowledged


def test_a_hole_before_the_first_batch_is_no_loss_of_the_database() -> None:
    settled = SettledRecords(records=4, acknowledged_points=100)
    events = []
    producer = Producer(settled, b"a" * 16, lambda: b"b" * 16, on_event=lambda event, count: events.append(event))
    settled.expect(7)
    producer.take(batch_of(7, 6))
    assert producer.opening() == (b"a" * 16, 1)
    assert not producer.opened(4, whole=False)
    assert (events, producer.lost_acknowledged) == ([], 0)
    producer.id_saved(b"b" * 16)
    assert producer.opening() == (b"b" * 16, 1)


def test_an_id_that_another_process_uses_is_given_up() -> None:
    """Batches under numbers that are committed already would be taken for repeats and vanish."""
    settled = SettledRecords()
    events = []
    producer = Producer(settled, b"a" * 16, lambda: b"b" * 16, on_event=lambda event, count: events.append(event))
    settled.expect(1)
    producer.take(batch_of(1, 1))
    producer.opening()
    assert not producer.opened(50, whole=True)
    assert events == [Event.FOREIGN]
    assert not producer.may_open, "the new id is not saved yet"
    producer.id_saved(b"b" * 16)
    assert producer.opening() == (b"b" * 16, 1)
    assert producer.opened(0, whole=True)
    assert [producer.wire_number(batch) for batch in producer.next_batches(10_000, 10_000)] == [1]


def test_what_a_restored_database_lost_is_counted_by_the_sizes_of_batches() -> None:
    settled = SettledRecords()
    producer = Producer(settled, b"a" * 16, lambda: b"b" * 16)
    for number in range(1, 5):
        settled.expect(number)
        producer.take(batch_of(number, number))
    producer.opening()
    producer.opened(0, whole=False)
    producer.next_batches(10_000, 10_000)
    producer.acknowledged(3)
    producer.closed()
    producer.data_loss()
    assert producer.opening() == (b"a" * 16, 1)
    assert not producer.opened(1, whole=False)
    assert producer.lost_acknowledged == 3 + 1
    producer.id_saved(producer.id)
    assert producer.opening() == (b"b" * 16, 1)


def test_refusals_of_an_ack_belong_to_its_batches() -> None:
    settled = SettledRecords()
    producer = Producer(settled, b"a" * 16, lambda: b"b" * 16)
    for number in (1, 2):
        settled.expect(number)
        producer.take(batch_of(number, number))
    producer.opening()
    producer.opened(0, whole=False)
    producer.next_batches(10_000, 10_000)
    producer.acknowledged(2, [("key_too_long", 3), ("time_out_of_range", 1)])
    assert settled.acknowledged_points == 1
    assert settled.refused == {"key_too_long": 3, "time_out_of_range": 1}


def test_a_window_bounds_what_is_in_flight_but_one_batch_always_goes() -> None:
    settled = SettledRecords()
    producer = Producer(settled, b"a" * 16, lambda: b"b" * 16)
    for number in range(1, 4):
        settled.expect(number)
        producer.take(batch_of(number, number))
    producer.opening()
    producer.opened(0, whole=False)
    assert len(producer.next_batches(10_000, 1)) == 1
    assert producer.next_batches(10_000, 1) == []
    producer.acknowledged(1)
    assert len(producer.next_batches(10_000, 1)) == 1


def test_records_settle_in_any_order_and_count_as_a_prefix() -> None:
    settled = SettledRecords()
    for sequence in (1, 2, 4):
        settled.expect(sequence)
    settled.settle(2, Outcome(5))
    assert (settled.records, settled.acknowledged_points) == (0, 0)
    settled.settle(1, Outcome(0, {"bad": 1}))
    settled.settle(1, Outcome(7))
    assert (settled.records, settled.acknowledged_points, settled.refused) == (2, 5, {"bad": 1})
    assert settled.missing == 1
    settled.settle(4, Outcome(1))
    assert (settled.records, settled.acknowledged_points, settled.open_records) == (4, 6, 0)
