"""A stream, producer, run or call that the service refuses does not hold up the others."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from runstream.journal import Directory
from runstream.v1 import run_pb2
from tests.unit.client.ledger import Refused
from tests.unit.client.reference_service import ReferenceService
from tests.unit.client.services import Service
from tests.unit.client.transport.conftest import StartTransport, until
from tests.unit.client.transport.journals import Trainer
from tests.unit.client.transport.outcomes import settled, texts


@pytest.fixture
def other_service() -> Iterator[ReferenceService]:
    """A service at another address, which refuses nothing."""
    service = ReferenceService()
    yield service
    service.stop()


@pytest.mark.reference_only("the real service has no reason to refuse this stream")
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("UNAUTHENTICATED", "Set a token"),
        ("PERMISSION_DENIED", "Ask for a role"),
        ("UNIMPLEMENTED", "is not a runstream service"),
        ("INVALID_ARGUMENT", "bug in runstream"),
    ],
)
def test_a_refused_stream_is_reported_with_what_to_do_and_repeated_slowly(
    service: ReferenceService,
    other_service: ReferenceService,
    directory: Directory,
    transports: StartTransport,
    code: str,
    words: str,
) -> None:
    def fault(event: str, number: int) -> None:
        raise Refused(grpc.StatusCode[code], "")

    service.ledger.fault = fault
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(10))
    transports(directory)
    until(lambda: words in texts(trainer))
    elsewhere = Trainer.start(directory, other_service.address)
    elsewhere.log(range(10))
    settled(elsewhere)  # which takes many messages, and so as long as many repetitions
    assert service.opens() == 1
    service.ledger.fault = lambda *_: None
    trainer.finish()  # the end of a run is a reason to try again
    settled(trainer)


@pytest.mark.reference_only("the real service has no reason to refuse this producer")
def test_one_producer_that_is_refused_does_not_hold_up_the_others(
    service: ReferenceService, directory: Directory, transports: StartTransport
) -> None:
    def fault(event: str, number: int) -> None:
        if event == "open" and number == 1:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "no good")

    service.ledger.fault = fault
    transports(directory)
    first = Trainer.start(directory, service.address)
    first.log(range(10), "bad")
    until(lambda: "no good" in texts(first))
    second = Trainer.start(directory, service.address)
    second.log(range(10), "good")
    settled(second)
    assert first.position().acknowledged_points == 0
    assert "no good" in first.position().last_error


@pytest.mark.real_only("only the real service checks names")
def test_a_run_that_is_refused_does_not_hold_up_the_others(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    transports(directory)
    first = Trainer.start(directory, service.address, experiment="a\nb")
    until(lambda: first.position().run_state == "refused")
    second = Trainer.start(directory, service.address)
    second.log(range(10))
    settled(second)
    assert "has the control character" in texts(first)


def test_refusals_of_the_service_are_counted_and_reported(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(10), "k" * 251)
    trainer.log(range(10), "good")
    transports(directory)
    settled(trainer, 10)
    assert trainer.position().refused == {"key_too_long": 10}
    assert "kkkk" in texts(trainer)


def test_of_params_in_one_record_only_the_refused_one_is_not_written(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.params(a="1")
    until(lambda: trainer.position().records == 2)
    trainer.params(a="2", b="2", c="3")
    trainer.tags(x="y")
    settled(trainer)
    run = service.run(trainer.run_id)
    assert dict(run.params) == {"a": "1", "b": "2", "c": "3"}
    assert dict(run.tags) == {"x": "y"}
    assert "param 'a' refused" in texts(trainer)


@pytest.mark.reference_only("the service has a bug")
def test_a_call_that_fails_because_of_a_bug_does_not_keep_the_others_waiting(
    service: ReferenceService, directory: Directory, transports: StartTransport
) -> None:
    service.runs.poison = "bad"
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.params(bad="1")
    trainer.tags(good="1")
    trainer.finish()
    until(lambda: trainer.position().finished)
    run = service.run(trainer.run_id)
    assert (dict(run.params), dict(run.tags), run.status) == ({}, {"good": "1"}, run_pb2.RUN_STATUS_FINISHED)


@pytest.mark.reference_only("counts the calls")
def test_tags_that_wait_are_sent_together_and_the_newest_value_wins(
    service: ReferenceService, directory: Directory, transports: StartTransport
) -> None:
    service.stop()
    trainer = Trainer.start(directory, service.address)
    for number in range(3_000):
        trainer.tags(progress=str(number), **{f"k{number % 100}": "x" * 100})
    service.start()
    transports(directory)
    settled(trainer)
    assert service.run(trainer.run_id).tags["progress"] == "2999"
    assert len([method for method, _ in service.runs.calls if method == "SetTags"]) < 20


@pytest.mark.real_only("its limits are what counts")
def test_large_calls_are_split_to_fit_the_limits_of_the_service(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address)
    for part in range(5):
        trainer.tags(**{f"k{part}-{number}": "x" * 8_000 for number in range(30)})
    transports(directory)
    settled(trainer)
    assert len(service.run(trainer.run_id).tags) == 150


@pytest.mark.reference_only("the real service does that for launches alone: tests/integration/test_launches.py")
def test_a_derived_id_may_lead_to_another_run(
    service: ReferenceService, directory: Directory, transports: StartTransport
) -> None:
    service.runs.other_run_id = "f" * 32
    trainer = Trainer.start(directory, service.address, derived=True)
    transports(directory)
    trainer.log(range(10))
    settled(trainer)
    assert trainer.position().run_id == "f" * 32
    assert "has ended" not in texts(trainer), "the training process says it"


@pytest.mark.real_only("only the real service compares experiments")
def test_a_run_of_another_experiment_is_used_if_it_was_asked_for_by_its_id(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    transports(directory)
    first = Trainer.start(directory, service.address, experiment="other")
    settled(first)
    trainer = Trainer.start(directory, service.address, first.run_id)
    trainer.log(range(10))
    settled(trainer)
    assert "points go to the run of that id" in texts(trainer)


def test_a_journal_that_joins_a_run_does_not_create_it(
    service: Service, directory: Directory, transports: StartTransport
) -> None:
    trainer = Trainer.start(directory, service.address, joins=True, ends_run=False)
    trainer.params(a="b")
    trainer.log(range(10))
    transports(directory)
    settled(trainer, 0)
    assert trainer.position().refused == {"run_not_found": 10}
    assert service.all_runs() == []
    trainer.finish(ends_run=False)
    trainer.die()
    until(lambda: not trainer.path.exists())
