"""Journals reach the service: every point once, whatever fails. Against a real gRPC server that keeps the contract."""

from __future__ import annotations

import dataclasses
import random
import shutil
import threading
import time

import grpc
import pytest

from runstream.journal import MemoryJournal, Position
from tests.unit.client.ledger import Cut, Refused
from tests.unit.client.transport.conftest import QUICK, delete, until
from tests.unit.client.transport.journals import Trainer, create_record

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def once(event, number, error):
    """A fault that happens the first time that `event` happens to `number`."""
    done: list[int] = []

    def fault(what, which):
        if what == event and which == number and not done:
            done.append(which)
            raise error

    return fault


def settled(trainer: Trainer, acknowledged: int | None = None) -> None:
    """Everything that was appended is settled, and says so."""
    until(lambda: trainer.position().records == trainer.journal.sequence)
    position = trainer.position()
    expected = trainer.logged if acknowledged is None else acknowledged
    assert position.acknowledged_points == expected, position
    assert position.acknowledged_points + sum(position.refused.values()) == trainer.logged


def texts(trainer: Trainer) -> str:
    return "\n".join(notice["text"] for notice in trainer.position().notices)


def values(service, count: int) -> list[float]:
    return [float(step) for step in range(count)]


def test_a_journal_is_brought_to_the_service_and_deleted_when_it_is_finished(service, directory, transports):
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
    run = service.ledger.runs[trainer.run_id]
    assert service.ledger.values("loss") == values(service, 2_500)
    assert dict(run.params) == {"lr": "0.1"}
    assert dict(run.tags) == {"stage": "b"}
    assert run.status == 3


def test_many_journals_share_one_stream_and_their_batches_share_messages(service, directory, transports):
    run_id = create_record("")["run_id"]
    trainers = [Trainer.start(directory, service.address, run_id, rank=rank, ends_run=rank == 0) for rank in range(8)]
    for trainer in trainers:
        trainer.log(range(5_000), f"key{trainer.create['rank']}", batch=100)
    transports(directory)
    for trainer in trainers:
        settled(trainer)
        assert service.ledger.values(f"key{trainer.create['rank']}") == values(service, 5_000)
    assert service.ledger.opens == 8


def test_a_writer_that_died_is_drained_and_its_run_has_failed(service, directory, transports):
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(1_500))
    trainer.die()
    transports(directory)
    until(lambda: not trainer.path.exists())
    assert service.ledger.values("loss") == values(service, 1_500)
    assert service.ledger.runs[trainer.run_id].status == 4


def test_a_newer_journal_of_the_run_keeps_what_is_left_of_its_predecessor_from_ending_it(
    service, directory, transports
):
    old = Trainer.start(directory, service.address)
    old.log(range(10))
    old.die()
    new = Trainer.start(directory, service.address, old.run_id)
    transports(directory)
    until(lambda: not old.path.exists())
    new.log(range(10, 20))
    settled(new)
    assert service.ledger.runs[new.run_id].status == 1
    assert service.ledger.values("loss") == values(service, 20)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["rank 0 is older", "rank 1 is older"])
def test_a_journal_of_another_rank_does_not_keep_a_run_whose_rank_0_died_from_failing(
    service, directory, transports, order
):
    run_id = create_record("")["run_id"]
    ranks = {rank: Trainer.start(directory, service.address, run_id, rank=rank, ends_run=rank == 0) for rank in order}
    for rank, trainer in ranks.items():
        trainer.log(range(10), f"key{rank}")
    ranks[0].die()
    transports(directory)
    until(lambda: not ranks[0].path.exists())
    assert service.ledger.runs[run_id].status == 4
    settled(ranks[1])


def test_a_rank_that_detaches_does_not_end_the_run(service, directory, transports):
    trainer = Trainer.start(directory, service.address, rank=1, ends_run=False)
    transports(directory)
    trainer.log(range(10))
    trainer.finish(ends_run=False)
    until(lambda: trainer.position().finished)
    assert service.ledger.runs[trainer.run_id].status == 1


@pytest.mark.parametrize("event", ["batch", "committed", "acked"])
def test_a_stream_cut_before_commit_before_or_after_the_ack_loses_and_repeats_nothing(
    service, directory, transports, event
):
    service.ledger.fault = once(event, 2, Cut())
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(5_000))
    transports(directory)
    settled(trainer)
    assert service.ledger.values("loss") == values(service, 5_000)
    assert trainer.position().reconnects == 1


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
def test_what_may_be_retried_is_retried_and_nothing_is_lost(service, directory, transports, error, event, number):
    service.ledger.fault = once(event, number, error)
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(2_500))
    transports(directory)
    settled(trainer)
    assert service.ledger.values("loss") == values(service, 2_500)


def test_random_cuts_of_streams_producers_and_servers_store_every_point_once(service, directory, transports):
    chance = random.Random(7)

    def fault(event, number):
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
        assert service.ledger.values(f"key{trainer.create['rank']}") == values(service, 8_000)


def test_the_service_may_come_up_after_the_run_and_that_is_said_once(service, directory, transports):
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


def test_a_restored_database_is_noticed_counted_and_survived(service, directory, transports):
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(3_500))
    settled(trainer)
    service.stop()
    lost = service.ledger.restore(committed=1)
    assert lost == 2_500
    trainer.log(range(3_500, 4_200))
    service.start()
    settled(trainer)
    assert trainer.position().lost_acknowledged == lost
    assert "2500 acknowledged points are lost" in texts(trainer)
    assert service.ledger.values("loss") == [float(step) for step in (*range(1_000), *range(3_500, 4_200))]
    assert len(service.ledger.producers) == 2
    position = trainer.position()
    assert position.producer in {producer.hex() for producer in service.ledger.producers}
    assert position.producer_first_batch == 5


def test_data_loss_that_was_none_stores_nothing_twice_and_alarms_nobody(service, directory, transports):
    """The first Open is answered from an old state, the second from the right one, which knows more than was acked."""
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(3_000))
    settled(trainer)

    def fault(event, number):
        if event == "committed" and number == 5:
            service.ledger.fault = old_state
            raise Cut

    def old_state(event, number):
        if event == "open":
            service.ledger.fault = lambda *_: None
            raise Refused(grpc.StatusCode.DATA_LOSS, "LEDGER_BEHIND")

    service.ledger.fault = fault
    trainer.log(range(3_000, 6_000))
    settled(trainer)
    assert service.ledger.values("loss") == values(service, 6_000)
    assert len(service.ledger.producers) == 1
    assert trainer.position().lost_acknowledged == 0
    assert "lost" not in texts(trainer)


def test_a_run_that_the_service_forgot_is_created_again(service, directory, transports):
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(10))
    settled(trainer)
    service.stop()
    service.ledger.runs.clear()
    trainer.log(range(10, 20))
    service.start()
    settled(trainer)
    assert service.ledger.values("loss") == values(service, 20)
    assert service.ledger.runs[trainer.run_id].name == "n"


def test_a_deleted_run_refuses_its_points_until_it_is_restored(service, directory, transports):
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(10))
    settled(trainer)
    service.stop()
    service.ledger.runs[trainer.run_id].lifecycle = 2
    trainer.log(range(10, 1_510))
    service.start()
    settled(trainer, 10)
    assert trainer.position().run_state == "deleted"
    assert trainer.position().refused == {"run_deleted": 1_500}
    service.ledger.runs[trainer.run_id].lifecycle = 1
    until(lambda: trainer.position().run_state == "created")
    trainer.log(range(1_510, 1_520))
    settled(trainer, 20)
    assert service.ledger.values("loss") == [float(step) for step in (*range(10), *range(1_510, 1_520))]
    assert texts(trainer).count("was deleted") == 1
    assert "was restored" in texts(trainer)


def test_the_end_of_a_deleted_run_is_set_and_its_journal_goes(service, directory, transports):
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(10))
    settled(trainer)
    service.ledger.runs[trainer.run_id].lifecycle = 2
    trainer.tags(a="b")
    trainer.finish()
    trainer.die()
    until(lambda: not trainer.path.exists())
    assert service.ledger.runs[trainer.run_id].status == 3


def test_tags_that_waited_for_a_deleted_run_are_written_if_it_is_restored_before_its_end(
    service, directory, transports
):
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(10))
    settled(trainer)
    service.ledger.runs[trainer.run_id].lifecycle = 2
    trainer.tags(a="b")
    until(lambda: trainer.position().run_state == "deleted")
    service.ledger.runs[trainer.run_id].lifecycle = 1
    trainer.finish()
    trainer.die()
    until(lambda: not trainer.path.exists())
    run = service.ledger.runs[trainer.run_id]
    assert (run.status, dict(run.tags)) == (3, {"a": "b"})


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("UNAUTHENTICATED", "Give a token"),
        ("PERMISSION_DENIED", "Ask for a role"),
        ("UNIMPLEMENTED", "is no runstream service"),
        ("INVALID_ARGUMENT", "bug in runstream"),
    ],
)
def test_a_stream_that_is_refused_says_what_to_do_and_is_not_repeated_at_full_speed(
    service, directory, transports, code, words
):
    def fault(event, number):
        raise Refused(grpc.StatusCode[code], "")

    service.ledger.fault = fault
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(10))
    transports(directory)
    until(lambda: words in texts(trainer))
    time.sleep(0.3)
    assert service.ledger.opens == 1
    service.ledger.fault = lambda *_: None
    trainer.finish()  # the end asks once more
    settled(trainer)


def test_one_producer_that_is_refused_does_not_hold_up_the_others(service, directory, transports):
    def fault(event, number):
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


def test_a_run_that_is_refused_does_not_hold_up_the_others(service, directory, transports):
    service.runs.faults = [Refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "no such user")]
    transports(directory)
    first = Trainer.start(directory, service.address)
    until(lambda: first.position().run_state == "refused")
    second = Trainer.start(directory, service.address)
    second.log(range(10))
    settled(second)
    assert "no such user" in texts(first)


def test_refusals_of_the_service_are_counted_and_told(service, directory, transports):
    service.ledger.refuse_keys = {"bad"}
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(10), "bad")
    trainer.log(range(10), "good")
    transports(directory)
    settled(trainer, 10)
    assert trainer.position().refused == {"key_too_long": 10}
    assert "key bad" in texts(trainer)


def test_params_of_which_one_is_refused_are_written_except_for_that_one(service, directory, transports):
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.params(a="1")
    until(lambda: trainer.position().records == 2)
    trainer.params(a="2", b="2", c="3")
    trainer.tags(x="y")
    settled(trainer)
    run = service.ledger.runs[trainer.run_id]
    assert dict(run.params) == {"a": "1", "b": "2", "c": "3"}
    assert dict(run.tags) == {"x": "y"}
    assert "param 'a' refused" in texts(trainer)


def test_a_call_that_meets_a_bug_of_the_service_does_not_keep_the_others_waiting(service, directory, transports):
    service.runs.poison = "bad"
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.params(bad="1")
    trainer.tags(good="1")
    trainer.finish()
    until(lambda: trainer.position().finished)
    run = service.ledger.runs[trainer.run_id]
    assert (dict(run.params), dict(run.tags), run.status) == ({}, {"good": "1"}, 3)


def test_tags_that_wait_are_sent_together_and_the_newest_value_wins(service, directory, transports):
    service.stop()
    trainer = Trainer.start(directory, service.address)
    for number in range(3_000):
        trainer.tags(progress=str(number), **{f"k{number % 100}": "x" * 100})
    service.start()
    transports(directory)
    settled(trainer)
    assert service.ledger.runs[trainer.run_id].tags["progress"] == "2999"
    assert len([method for method, _ in service.runs.calls if method == "SetTags"]) < 20


def test_large_calls_are_split_below_the_limits_of_the_service(service, directory, transports):
    trainer = Trainer.start(directory, service.address)
    for part in range(5):
        trainer.tags(**{f"k{part}-{number}": "x" * 8_000 for number in range(30)})
    transports(directory)
    settled(trainer)
    assert len(service.ledger.runs[trainer.run_id].tags) == 150


def test_a_derived_id_may_lead_to_another_run(service, directory, transports):
    service.runs.other_run_id = "f" * 32
    trainer = Trainer.start(directory, service.address, derived=True)
    transports(directory)
    trainer.log(range(10))
    settled(trainer)
    assert trainer.position().run_id == "f" * 32
    assert "has ended" not in texts(trainer), "the training process says it"


def test_a_run_of_another_experiment_is_used_if_it_was_asked_for_by_its_id(service, directory, transports):
    service.runs.faults = [
        Refused(grpc.StatusCode.ALREADY_EXISTS, "RUN_IN_OTHER_EXPERIMENT"),
    ]
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(10))
    settled(trainer)
    assert "points go to the run of that id" in texts(trainer)


def test_a_journal_that_joins_a_run_does_not_create_it(service, directory, transports):
    trainer = Trainer.start(directory, service.address, joins=True, ends_run=False)
    trainer.params(a="b")
    trainer.log(range(10))
    transports(directory)
    settled(trainer, 0)
    assert trainer.position().refused == {"run_not_found": 10}
    assert "CreateRun" not in [method for method, _ in service.runs.calls]
    trainer.finish(ends_run=False)
    trainer.die()
    until(lambda: not trainer.path.exists())


def test_a_journal_in_memory_is_sent_like_one_on_disk(service, transports):
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
    assert service.ledger.values("loss") == values(service, 5_000)


def test_the_last_position_of_a_journal_without_a_directory_is_saved_before_it_is_let_go(service, transports):
    # Positions are saved rarely, so that its end is answered between two saves.
    transport = transports(limits=dataclasses.replace(QUICK, save_s=0.5))
    journal = MemoryJournal(create_record(service.address))
    saved: list[Position] = []
    transport.add_kept(journal, transport._endpoints.of(journal.create, None), Position(), saved.append)
    until(lambda: saved)
    Trainer(journal, journal.create, None).finish()
    journal.close()  # nothing holds it back when its end is answered
    transport.wake()
    until(lambda: not transport.journals)
    assert saved[-1].finished


def test_more_producers_than_a_stream_takes_have_their_turns(service, directory, transports):
    service.ledger.max_producers = 2
    trainers = [Trainer.start(directory, service.address) for _ in range(5)]
    transports(directory)
    for number, trainer in enumerate(trainers):
        trainer.log(range(100), f"key{number}")
    for number, trainer in enumerate(trainers):
        settled(trainer)
        assert service.ledger.values(f"key{number}") == values(service, 100)


def test_segments_that_are_settled_are_deleted_and_a_new_transport_goes_on_behind_them(service, directory, transports):
    trainer = Trainer.start(directory, service.address)
    transport = transports(directory)
    trainer.log(range(330_000))
    settled(trainer)
    until(lambda: not (trainer.path / "00000001.seg").exists())
    transport.stop()
    trainer.log(range(330_000, 331_000))
    transports(directory)
    settled(trainer)
    assert service.ledger.values("loss") == values(service, 331_000)


def test_a_copy_is_sent_without_storing_anything_twice_and_stays(service, directory, transports, tmp_path):
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
    assert service.ledger.values("loss") == values(service, 4_000)
    assert (tmp_path / "long" / "00000001.seg").exists()


def test_a_hole_in_a_journal_costs_what_is_missing_and_nothing_else(service, directory, transports):
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
    stored = service.ledger.values("loss")
    assert len(stored) == len(set(stored)) == 4_000
    assert len(service.ledger.producers) == 2
    assert service.ledger.runs[trainer.run_id].status == 3


def test_the_torn_end_of_a_writer_that_was_killed_is_reported_and_costs_one_record(service, directory, transports):
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(3_000))
    trainer.die()
    segment = trainer.path / "00000001.seg"
    segment.write_bytes(segment.read_bytes()[:-100])
    transport = transports(directory)
    until(lambda: not trainer.path.exists())
    assert service.ledger.values("loss") == values(service, 2_000)
    assert service.ledger.runs[trainer.run_id].status == 4
    until(lambda: transport.journals == 0)


def test_a_journal_that_nobody_can_read_is_left_alone_and_does_not_hold_up_the_others(service, directory, transports):
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


def test_a_directory_that_is_deleted_is_forgotten(service, directory, transports):
    service.stop()
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(10))
    transport = transports(directory)
    until(lambda: transport.journals == 1)
    delete(directory.path)
    until(lambda: transport.journals == 0)


def test_a_service_that_does_not_answer_open_is_given_up(service, directory, transports):
    gate = threading.Event()

    def fault(event, number):
        if event == "open" and number == 1:
            service.ledger.lock.wait_for(gate.is_set, 20)

    service.ledger.fault = fault
    transports(directory, limits=dataclasses.replace(QUICK, open_timeout_s=0.2))
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(10))
    service.ledger.wait_for(lambda: service.ledger.opens >= 2)
    gate.set()
    settled(trainer)
    assert "no answer to Open" in texts(trainer)


def test_steps_that_an_earlier_process_has_logged_are_told(service, directory, transports):
    trainer = Trainer.start(directory, service.address)
    transports(directory)
    trainer.log(range(100))
    settled(trainer)
    create = service.runs.CreateRun

    def has_points(request, context):
        response = create(request, context)
        response.attempt_has_points = True
        return response

    service.runs.CreateRun = has_points
    service.stop()
    service.start()
    again = Trainer.start(directory, service.address, trainer.run_id)
    again.log(range(50, 60))
    settled(again)
    assert "starts at step 50, but an earlier process logged it up to step 99" in texts(again)
