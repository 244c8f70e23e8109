"""Journals reach the service, and every point is stored once, whatever fails."""

from __future__ import annotations

import random
import time

import grpc
import pytest

from runstream.journal import Directory
from runstream.v1 import run_pb2
from tests.unit.client.ledger import Cut, Refused
from tests.unit.client.real_service import RealService
from tests.unit.client.reference_service import ReferenceService
from tests.unit.client.services import Service
from tests.unit.client.transport.conftest import StartTransport, until
from tests.unit.client.transport.journals import Trainer, create_record
from tests.unit.client.transport.outcomes import UNAVAILABLE, once, settled, steps, texts


def test_a_journal_is_sent_and_deleted_when_its_run_is_finished(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.params(lr="0.1")
    trainer.tags(stage="a")
    trainer.log(range(2_500))
    trainer.tags(stage="b")
    settled(trainer)
    position = trainer.position()
    assert (position.run_id, position.run_name, position.run_state) == (trainer.run_id, "n", "created")
    assert position.connected
    assert position.server == service.address
    trainer.finish()
    until(lambda: trainer.position().finished)
    trainer.die()
    until(lambda: not trainer.path.exists())
    run = service.run(trainer.run_id)
    assert service.values("loss") == steps(2_500)
    assert dict(run.params) == {"lr": "0.1"}
    assert dict(run.tags) == {"stage": "b"}
    assert run.status == run_pb2.RUN_STATUS_FINISHED


def test_many_journals_share_one_stream_and_their_batches_share_messages(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    run_id = create_record("")["run_id"]
    trainers = [Trainer.start(directory, service.address, run_id, rank=rank, ends_run=rank == 0) for rank in range(8)]
    for trainer in trainers:
        trainer.log(range(5_000), f"key{trainer.create['rank']}", batch=100)
    transports(directory)
    for trainer in trainers:
        settled(trainer)
        assert service.values(f"key{trainer.create['rank']}") == steps(5_000)
    assert service.opens() == 8


def test_a_writer_that_died_is_drained_and_its_run_has_failed(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(1_500))
    trainer.die()
    transports(directory)
    until(lambda: not trainer.path.exists())
    assert service.values("loss") == steps(1_500)
    assert service.run(trainer.run_id).status == run_pb2.RUN_STATUS_FAILED


def test_a_dead_writer_does_not_end_a_run_that_has_a_newer_journal(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    old = Trainer.start(directory, service.address)
    old.log(range(10))
    old.die()
    new = Trainer.start(directory, service.address, old.run_id)
    transports(directory)
    until(lambda: not old.path.exists())
    new.log(range(10, 20))
    settled(new)
    assert service.run(new.run_id).status == run_pb2.RUN_STATUS_RUNNING
    assert service.values("loss") == steps(20)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["rank 0 is older", "rank 1 is older"])
def test_a_run_whose_rank_0_died_fails_although_another_rank_goes_on(
    service: Service, directory: Directory, transports: StartTransport, order: tuple[int, int]
) -> None:
    run_id = create_record("")["run_id"]
    ranks = {rank: Trainer.start(directory, service.address, run_id, rank=rank, ends_run=rank == 0) for rank in order}
    for rank, trainer in ranks.items():
        trainer.log(range(10), f"key{rank}")
    ranks[0].die()
    transports(directory)
    until(lambda: not ranks[0].path.exists())
    assert service.run(run_id).status == run_pb2.RUN_STATUS_FAILED
    settled(ranks[1])


def test_a_rank_that_detaches_does_not_end_the_run(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address, rank=1, ends_run=False)
    transports(directory)
    trainer.log(range(10))
    trainer.finish(ends_run=False)
    until(lambda: trainer.position().finished)
    assert service.run(trainer.run_id).status == run_pb2.RUN_STATUS_RUNNING


@pytest.mark.reference_only("cuts the stream at a step of a commit")
@pytest.mark.parametrize("event", ["batch", "committed", "acked"])
def test_a_stream_cut_before_commit_before_or_after_the_ack_loses_and_repeats_nothing(
    service: ReferenceService, directory: Directory, transports: StartTransport, event: str
) -> None:
    service.ledger.fault = once(event, 2, Cut())
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(5_000))
    transports(directory)
    settled(trainer)
    assert service.values("loss") == steps(5_000)
    assert trainer.position().reconnects == 1


@pytest.mark.reference_only("refuses at a step of a commit, also for reasons that the real service never has")
@pytest.mark.parametrize(
    "error",
    [
        Refused(UNAVAILABLE, "DRAINING", retry_s=0.05),
        Refused(UNAVAILABLE, "DATABASE_UNAVAILABLE", retry_s=0.05),
        Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_s=0.05),
        Refused(grpc.StatusCode.INTERNAL, "INTERNAL"),
        Refused(grpc.StatusCode.INTERNAL, "COMMIT_FAILED"),
        Refused(grpc.StatusCode.UNKNOWN, ""),
        Refused(grpc.StatusCode.CANCELLED, ""),
        Refused(grpc.StatusCode.DEADLINE_EXCEEDED, ""),
        Refused(grpc.StatusCode.ABORTED, "FENCED"),
    ],
    ids=lambda error: f"{error.code.name}-{error.reason}",
)
@pytest.mark.parametrize(("event", "number"), [("open", 1), ("batch", 2), ("committed", 2)])
def test_what_may_be_retried_is_retried_and_nothing_is_lost(
    service: ReferenceService,
    directory: Directory,
    transports: StartTransport,
    error: Refused,
    event: str,
    number: int,
) -> None:
    service.ledger.fault = once(event, number, error)
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(2_500))
    transports(directory)
    settled(trainer)
    assert service.values("loss") == steps(2_500)


@pytest.mark.reference_only("cuts streams at the steps of commits")
def test_random_cuts_of_streams_producers_and_servers_store_every_point_once(
    service: ReferenceService, directory: Directory, transports: StartTransport
) -> None:
    chance = random.Random(7)

    def fault(event: str, number: int) -> None:
        roll = chance.random()
        if roll < 0.03:
            raise Cut
        if roll < 0.05:
            raise Refused(UNAVAILABLE, "DRAINING", retry_s=0.001)
        if roll < 0.10 and event != "open":
            raise Refused(grpc.StatusCode.ABORTED, "FENCED")

    service.ledger.fault = fault
    transport = transports(directory)
    run_id = create_record("")["run_id"]
    trainers = [Trainer.start(directory, service.address, run_id, rank=rank, ends_run=False) for rank in range(3)]
    for chunk in range(20):
        for trainer in trainers:
            trainer.log(range(chunk * 400, chunk * 400 + 400), f"key{trainer.create['rank']}", batch=50)
        if chunk % 7 == 5:
            service.stop()
            service.start()
        if chunk % 7 == 3:
            transport.stop(0.01)
            transport = transports(directory)
        time.sleep(0.02)
    service.ledger.fault = lambda event, number: None
    for trainer in trainers:
        settled(trainer)
        assert service.values(f"key{trainer.create['rank']}") == steps(8_000)


@pytest.mark.real_only("breaks what the real service stands on")
def test_random_cuts_of_networks_databases_and_agents_store_every_point_once(
    service: RealService, directory: Directory, transports: StartTransport
) -> None:
    chance = random.Random(7)
    transport = transports(directory)
    run_id = create_record("")["run_id"]
    trainers = [Trainer.start(directory, service.address, run_id, rank=rank, ends_run=False) for rank in range(3)]
    harmed = 0

    def acknowledged() -> int:
        return sum(trainer.position().acknowledged_points for trainer in trainers)

    for chunk in range(12):
        before = acknowledged()
        for trainer in trainers:
            trainer.log(range(chunk * 400, chunk * 400 + 400), f"key{trainer.create['rank']}", batch=50)
        until(lambda: acknowledged() > before)  # noqa: B023 (it is called at once)
        harm = chance.choice(["network", "database", "both", "agent"])
        if harm in ("network", "both"):
            harmed += service.cut()
        if harm in ("database", "both"):
            harmed += service.kill_backends()
        if harm == "agent":
            transport.stop(0.01)
            transport = transports(directory)
    assert harmed > 10
    for trainer in trainers:
        settled(trainer)
        assert service.values(f"key{trainer.create['rank']}") == steps(4_800)


def test_a_service_that_starts_after_the_run_is_reported_once_as_away_and_once_as_back(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    service.stop()
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(1_500))
    until(lambda: "no connection" in texts(trainer))
    assert trainer.position().acknowledged_points == 0
    service.start()
    settled(trainer)
    until(lambda: "again" in texts(trainer).splitlines()[-1])
    assert [notice["level"] for notice in trainer.position().notices] == ["warning", "info"]
    assert service.address in texts(trainer)
    assert "RUNSTREAM_ADDRESS" in texts(trainer)
