"""The service forgets: its database was restored from a backup, or runs were deleted."""

from __future__ import annotations

import grpc
import pytest

from runstream.journal import Directory
from runstream.v1 import run_pb2
from tests.unit.client.ledger import Cut, Refused
from tests.unit.client.reference_service import ReferenceService
from tests.unit.client.services import Service
from tests.unit.client.transport.conftest import StartTransport, until
from tests.unit.client.transport.journals import Trainer
from tests.unit.client.transport.outcomes import settled, steps, texts


def test_a_restored_database_is_noticed_counted_and_survived(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(3_500))
    settled(trainer)
    service.stop()
    lost = service.restore_database()
    assert lost == 3_500
    trainer.log(range(3_500, 4_200))
    service.start()
    settled(trainer)
    assert trainer.position().lost_acknowledged == lost
    assert "3500 points that it had acknowledged are lost" in texts(trainer)
    assert service.values("loss") == [float(step) for step in range(3_500, 4_200)]
    assert len(service.producers()) == 2
    position = trainer.position()
    assert position.producer in service.producers()
    assert position.producer_first_batch == 5


@pytest.mark.reference_only("one Open finds an old state, the next one the newest")
def test_an_open_that_reaches_an_old_state_for_a_moment_stores_nothing_twice_and_reports_no_loss(
    service: ReferenceService, directory: Directory, transports: StartTransport
) -> None:
    """The first Open reaches an old state, the second the newest, which has more than what was acknowledged."""
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(3_000))
    settled(trainer)

    def fault(event: str, number: int) -> None:
        if event == "committed" and number == 5:
            service.ledger.fault = old_state
            raise Cut

    def old_state(event: str, number: int) -> None:
        if event == "open":
            service.ledger.fault = lambda *_: None
            raise Refused(grpc.StatusCode.DATA_LOSS, "LEDGER_BEHIND")

    service.ledger.fault = fault
    trainer.log(range(3_000, 6_000))
    settled(trainer)
    assert service.values("loss") == steps(6_000)
    assert len(service.producers()) == 1
    assert trainer.position().lost_acknowledged == 0
    assert "lost" not in texts(trainer)


def test_a_run_that_a_restored_database_does_not_have_is_created_again(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(10))
    settled(trainer)
    service.stop()
    assert service.restore_database(with_runs=False) == 10
    trainer.log(range(10, 20))
    service.start()
    settled(trainer)
    assert trainer.position().lost_acknowledged == 10
    assert service.values("loss") == [float(step) for step in range(10, 20)]
    assert service.run(trainer.run_id).name == "n"


def test_a_deleted_run_refuses_its_points_until_it_is_restored(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(10))
    settled(trainer)
    service.stop()
    service.delete_run(trainer.run_id)
    trainer.log(range(10, 1_510))
    service.start()
    settled(trainer, 10)
    assert trainer.position().run_state == "deleted"
    assert trainer.position().refused == {"run_deleted": 1_500}
    service.restore_run(trainer.run_id)
    until(lambda: trainer.position().run_state == "created")
    trainer.log(range(1_510, 1_520))
    settled(trainer, 20)
    assert service.values("loss") == [float(step) for step in (*range(10), *range(1_510, 1_520))]
    assert texts(trainer).count("was deleted") == 1
    assert "was restored" in texts(trainer)


def test_a_deleted_run_gets_its_end_and_its_journal_is_deleted(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(10))
    settled(trainer)
    service.delete_run(trainer.run_id)
    trainer.tags(a="b")
    trainer.finish()
    trainer.die()
    until(lambda: not trainer.path.exists())
    assert service.run(trainer.run_id).status == run_pb2.RUN_STATUS_FINISHED


def test_tags_that_waited_for_a_deleted_run_are_written_if_it_is_restored_before_its_end(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(10))
    settled(trainer)
    service.delete_run(trainer.run_id)
    trainer.tags(a="b")
    until(lambda: trainer.position().run_state == "deleted")
    service.restore_run(trainer.run_id)
    trainer.finish()
    trainer.die()
    until(lambda: not trainer.path.exists())
    run = service.run(trainer.run_id)
    assert (run.status, dict(run.tags)) == (run_pb2.RUN_STATUS_FINISHED, {"a": "b"})
