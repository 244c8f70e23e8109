"""Journals in memory, in parts, copied, torn, unreadable or deleted: each is sent as far as it can be read."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from runstream._endpoint import Endpoint
from runstream.journal import Directory, MemoryJournal, Position
from runstream.v1 import run_pb2
from tests.unit.client.real_service import RealService
from tests.unit.client.reference_service import ReferenceService
from tests.unit.client.services import Service
from tests.unit.client.transport.conftest import QUICK, StartTransport, delete, until
from tests.unit.client.transport.journals import Trainer, create_record
from tests.unit.client.transport.outcomes import settled, steps, texts


def test_a_journal_in_memory_is_sent_like_one_on_disk(service: Service, transports: StartTransport) -> None:
    journal = MemoryJournal(create_record(service.address))
    trainer = Trainer(journal, journal.create, None)
    transport = transports()
    transport.add(journal)
    trainer.log(range(5_000))
    trainer.finish()
    transport.wake()

    def position() -> Position:
        return transport.position(journal.id) or Position()

    until(lambda: position().finished)
    assert position().acknowledged_points == 5_000
    assert service.values("loss") == steps(5_000)


def test_the_last_position_of_a_journal_without_a_directory_is_saved_before_it_is_let_go(
    service: Service, transports: StartTransport
) -> None:
    # Positions are saved seldom, so that the answer to its end comes between two saves.
    transport = transports(limits=dataclasses.replace(QUICK, save_s=0.5))
    journal = MemoryJournal(create_record(service.address))
    saved: list[Position] = []
    transport.add_kept(journal, Endpoint(service.address), Position(), saved.append)
    until(lambda: saved)
    Trainer(journal, journal.create, None).finish()
    journal.close()  # nothing keeps the transport from forgetting it when its end was answered
    transport.wake()
    until(lambda: not transport.journals)
    assert saved[-1].finished


@pytest.mark.reference_only("the limit of the real service is some hundred times as high")
def test_producers_take_turns_if_a_stream_does_not_take_all(
    service: ReferenceService, directory: Directory, transports: StartTransport
) -> None:
    service.ledger.max_producers = 2
    trainers = [Trainer.start(directory, service.address) for _ in range(5)]
    transports(directory)
    for number, trainer in enumerate(trainers):
        trainer.log(range(100), f"key{number}")
    for number, trainer in enumerate(trainers):
        settled(trainer)
        assert service.values(f"key{number}") == steps(100)


@pytest.mark.real_only("so many points")
def test_settled_segments_are_deleted_and_a_new_transport_continues_after_them(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    transport = transports(directory)
    trainer.log(range(330_000))
    settled(trainer)
    until(lambda: not (trainer.path / "00000001.seg").exists())
    transport.stop()
    trainer.log(range(330_000, 331_000))
    transports(directory)
    settled(trainer)
    assert service.values("loss") == steps(331_000)


def test_a_copy_is_sent_without_storing_anything_twice_and_stays(
    service: Service, directory: Directory, transports: StartTransport, tmp_path: Path
) -> None:
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(1_500))
    shutil.copytree(trainer.path, tmp_path / "short")
    trainer.log(range(1_500, 4_000))
    trainer.die()
    shutil.copytree(trainer.path, tmp_path / "long")
    for copy in ("long", "short", "long"):
        transport = transports(paths=[tmp_path / copy], keep=True)
        until(transport.over)
        transport.stop()
        position = Position.load(tmp_path / copy)
        assert position is not None
        assert position.acknowledged_points == (1_500 if copy == "short" else 4_000)
    assert service.values("loss") == steps(4_000)
    assert (tmp_path / "long" / "00000001.seg").exists()


def test_a_hole_in_a_journal_loses_only_what_is_missing(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(5_000))
    trainer.finish()
    trainer.die()
    segment = trainer.path / "00000001.seg"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    transports(directory)
    until(lambda: not trainer.path.exists())
    stored = service.values("loss")
    assert len(stored) == len(set(stored)) == 4_000
    assert len(service.producers()) == 2
    assert service.run(trainer.run_id).status == run_pb2.RUN_STATUS_FINISHED


def test_the_torn_end_of_a_killed_writers_journal_loses_one_record(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(3_000))
    trainer.die()
    segment = trainer.path / "00000001.seg"
    segment.write_bytes(segment.read_bytes()[:-100])
    transport = transports(directory)
    until(lambda: not trainer.path.exists())
    assert service.values("loss") == steps(2_000)
    assert service.run(trainer.run_id).status == run_pb2.RUN_STATUS_FAILED
    until(lambda: transport.journals == 0)


def test_a_journal_that_nobody_can_read_is_left_alone_and_does_not_hold_up_the_others(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    bad = Trainer.start(directory, service.address)
    bad.die()
    segment = bad.path / "00000001.seg"
    segment.write_bytes(segment.read_bytes()[:60] + b"x" + segment.read_bytes()[61:])
    good = Trainer.start(directory, service.address)
    good.log(range(10))
    transport = transports(directory)
    settled(good)
    assert "CREATE" in transport.unusable()[bad.path]
    assert bad.path.exists()


def test_a_directory_that_is_deleted_is_forgotten(directory: Directory, transports: StartTransport) -> None:
    trainer = Trainer.start(directory, "127.0.0.1:1")
    trainer.log(range(10))
    transport = transports(directory)
    until(lambda: transport.journals == 1)
    delete(directory.path)
    until(lambda: transport.journals == 0)


@pytest.mark.real_only("locks its ledger")
def test_an_open_that_is_not_answered_is_given_up_and_repeated(
    service: RealService, directory: Directory, transports: StartTransport
) -> None:
    transports(directory, limits=dataclasses.replace(QUICK, open_timeout_s=0.2))
    with service.open_unanswered():
        trainer = Trainer.start(directory, service.address)
        trainer.log(range(10))
        until(lambda: "no answer to Open" in texts(trainer))
        assert service.values("loss") == []
    settled(trainer)
    assert service.values("loss") == steps(10)


@pytest.mark.real_only("only the real service knows the steps")
def test_a_run_that_repeats_steps_of_an_earlier_process_is_reported(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(100))
    settled(trainer)
    again = Trainer.start(directory, service.address, trainer.run_id)
    again.log(range(50, 60))
    settled(again)
    assert "starts at step 50, but an earlier process logged it up to step 99" in texts(again)
