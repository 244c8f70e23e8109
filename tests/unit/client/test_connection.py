"""Every point exactly once, whatever ends the stream. Against a real gRPC server that keeps the contract."""

import logging
import random
import threading
import time
from collections.abc import Callable

import grpc
import pytest

from runstream._backoff import Backoff
from tests.unit.client.ledger import Cut, Refused

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def log_steps(run, first, count, key="loss") -> None:
    for step in range(first, first + count):
        run.log({key: float(step)}, step=step)


def expect(run, service, count, key="loss") -> None:
    """All points arrived: each once, in order, and the account agrees."""
    assert run.flush(20), run.stats()
    assert service.ledger.values(key) == [float(step) for step in range(count)]
    stats = run.stats()
    assert (stats.waiting, stats.acknowledged, dict(stats.refused)) == (0, stats.logged, {})


def once(event, number, error) -> Callable[[str, int], None]:
    """A fault that happens the first time that `event` happens to `number`."""
    done: list[int] = []

    def fault(what, which):
        if what == event and which == number and not done:
            done.append(which)
            raise error

    return fault


@pytest.mark.parametrize("event", ["batch", "committed", "acked"])
def test_a_stream_cut_before_commit_before_or_after_the_ack_loses_and_repeats_nothing(service, start, event):
    run = start("e")
    service.ledger.fault = once(event, 2, Cut())
    log_steps(run, 0, 5_000)
    expect(run, service, 5_000)
    assert run.stats().reconnects == 1


@pytest.mark.parametrize(
    "error",
    [
        Refused(UNAVAILABLE, "DRAINING", retry_s=0.05),
        Refused(UNAVAILABLE, "DATABASE_UNAVAILABLE", retry_s=0.05),
        Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_s=0.05),
        Refused(grpc.StatusCode.INTERNAL, "INTERNAL"),
        Refused(grpc.StatusCode.UNKNOWN, ""),
        Refused(grpc.StatusCode.CANCELLED, ""),
        Refused(grpc.StatusCode.DEADLINE_EXCEEDED, ""),
        Refused(grpc.StatusCode.ABORTED, "FENCED"),
    ],
    ids=lambda error: f"{error.code.name}-{error.reason}",
)
@pytest.mark.parametrize(("event", "number"), [("open", 1), ("batch", 2), ("committed", 2)])
def test_what_may_be_retried_is_retried_and_nothing_is_lost(service, start, error, event, number):
    service.ledger.fault = once(event, number, error)
    run = start("e")
    log_steps(run, 0, 2_500)
    expect(run, service, 2_500)


def test_random_cuts_of_streams_and_servers_store_every_point_once(service, start):
    chance = random.Random(7)

    def fault(event, number):
        roll = chance.random()
        if roll < 0.06:
            raise Cut
        if roll < 0.09:
            raise Refused(UNAVAILABLE, "DRAINING", retry_s=0.001)
        if roll < 0.12 and event != "open":
            raise Refused(grpc.StatusCode.ABORTED, "FENCED")

    service.ledger.fault = fault
    run = start("e")
    runs = [run, *(start("e", run_id=run.run_id, rank=rank) for rank in (1, 2))]
    for chunk in range(30):
        for one in runs:
            log_steps(one, chunk * 400, 400, f"key{one.rank}")
        if chunk % 10 == 5:
            service.stop()
            log_steps(run, 12_000 + chunk, 1, "away")
            service.start()
        run.flush(0.03)
    service.ledger.fault = lambda event, number: None
    for one in runs:
        assert one.flush(20), one.stats()
        assert service.ledger.values(f"key{one.rank}") == [float(step) for step in range(12_000)]
    assert service.ledger.values("away") == [12_005.0, 12_015.0, 12_025.0]


def test_the_service_may_come_up_after_the_run(service, start, caplog):
    service.stop()
    with caplog.at_level(logging.INFO, "runstream"):
        run = start("e")
        log_steps(run, 0, 1_500)
        assert not run.flush(0.3)
        assert run.stats().waiting == 1_500
        service.start()
        expect(run, service, 1_500)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert service.address in warnings[0]
    assert "RUNSTREAM_ADDRESS" in warnings[0]
    assert "training goes on" in warnings[0]


def test_recovery_is_said_once(service, start, caplog):
    with caplog.at_level(logging.INFO, "runstream"):
        run = start("e")
        log_steps(run, 0, 10)
        assert run.flush(20)
        service.stop()
        log_steps(run, 10, 10)
        assert not run.flush(0.5)
        service.start()
        expect(run, service, 20)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_stream_that_was_ended_while_idle_is_opened_again_without_a_word(service, start, caplog):
    def fault(event, number):
        if event == "acked":
            raise Refused(grpc.StatusCode.INTERNAL, "", "Stream removed")  # as of a proxy with an idle limit

    service.ledger.fault = fault
    run = start("e")
    for step in range(4):
        log_steps(run, step, 1)
        assert run.flush(20)
        service.ledger.wait_for(lambda step=step: service.ledger.opens == step + 2)
    expect(run, service, 4)
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("UNAUTHENTICATED", "asks for no credentials"),
        ("PERMISSION_DENIED", "asks for no credentials"),
        ("UNIMPLEMENTED", "is no runstream service"),
        ("INVALID_ARGUMENT", "bug in runstream"),
    ],
)
def test_a_stream_that_is_refused_says_what_to_do(service, start, caplog, code, words):
    def fault(event, number):
        raise Refused(grpc.StatusCode[code], "")

    service.ledger.fault = fault
    run = start("e")
    run.log({"loss": 1.0})
    begun = time.monotonic()
    assert not run.flush(20)
    assert not run.finish(timeout=20)
    assert time.monotonic() - begun < 10, "waited for what has no chance"
    assert dict(run.stats().refused) == {"not_sent": 1}
    assert words in caplog.text
    assert ("bug in runstream" in caplog.text) == (code == "INVALID_ARGUMENT")


def test_a_service_that_commits_but_never_acks_is_asked_again(service, start):
    """The lost ack: Opened says what was committed, and the client needs nothing else to know it."""
    run = start("e")
    service.ledger.fault = once("committed", 3, Cut())
    log_steps(run, 0, 3_000)
    service.ledger.wait_for(lambda: service.ledger.opens == 2)
    expect(run, service, 3_000)
    assert service.ledger.duplicates == 0


def test_a_restored_database_is_noticed_counted_and_survived(service, start, caplog):
    run = start("e")
    log_steps(run, 0, 3_500)
    expect(run, service, 3_500)
    service.stop()
    log_steps(run, 3_500, 700)
    lost = service.ledger.restore(committed=1)
    assert lost == 2_500
    service.start()
    assert run.flush(20)
    assert run.stats().lost_acknowledged == lost
    assert "2500 acknowledged points are lost" in caplog.text
    kept = [*range(1_000), *range(3_500, 4_200)]
    assert service.ledger.values("loss") == [float(step) for step in kept]
    assert len(service.ledger.producers) == 2


def test_data_loss_that_was_none_stores_nothing_twice_and_alarms_nobody(service, start, caplog):
    """The first Open is answered from an old state, the second from the right one, which knows more than was acked."""
    run = start("e")
    log_steps(run, 0, 3_000)
    expect(run, service, 3_000)

    def fault(event, number):
        if event == "committed" and number == 5:
            service.ledger.fault = old_state
            raise Cut

    def old_state(event, number):
        if event == "open":
            service.ledger.fault = lambda *_: None
            raise Refused(grpc.StatusCode.DATA_LOSS, "LEDGER_BEHIND")

    service.ledger.fault = fault
    log_steps(run, 3_000, 3_000)
    expect(run, service, 6_000)
    assert len(service.ledger.producers) == 1
    assert run.stats().lost_acknowledged == 0
    assert "lost" not in caplog.text


def test_a_producer_id_that_somebody_else_used_is_given_up(service, start, caplog):
    """Batches under numbers that are committed already would be taken for repeats and vanish."""
    run = start("e")
    log_steps(run, 0, 1_500)
    expect(run, service, 1_500)
    (producer,) = service.ledger.producers.values()
    service.stop()
    producer.committed = 50
    log_steps(run, 1_500, 1_500)
    service.start()
    expect(run, service, 3_000)
    assert len(service.ledger.producers) == 2
    assert "another process streams under this run's producer id" in caplog.text
    assert "restored" not in caplog.text


def test_a_run_that_the_service_forgot_is_created_again(service, start):
    run = start("e", "n")
    log_steps(run, 0, 10)
    expect(run, service, 10)
    service.stop()
    service.ledger.runs.clear()
    log_steps(run, 10, 10)
    service.start()
    expect(run, service, 20)
    assert service.ledger.runs[run.run_id].name == "n"


def test_a_deleted_run_refuses_its_points_and_says_so_once(service, start, caplog):
    run = start("e")
    log_steps(run, 0, 10)
    expect(run, service, 10)
    service.stop()
    service.ledger.runs[run.run_id].lifecycle = 2
    log_steps(run, 10, 1_500)
    service.start()
    assert not run.flush(20)
    log_steps(run, 1_510, 5)
    run.finish(timeout=5)
    assert dict(run.stats().refused) == {"run_deleted": 1_505}
    assert run.stats().waiting == 0
    assert caplog.text.count("was deleted") == 1


def test_a_protocol_error_keeps_the_points_and_is_not_repeated_at_full_speed(service, start, caplog):
    service.ledger.fault = once("open", 1, Refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "no good"))
    run = start("e")
    log_steps(run, 0, 10)
    assert not run.flush(20)
    assert not run.flush(0.5)
    assert service.ledger.opens == 1
    assert run.stats().waiting == 10
    assert "no good" in caplog.text
    assert "no good" in run.stats().last_error
    assert run.finish(timeout=20), "the end asks once more"
    assert service.ledger.values("loss") == [float(step) for step in range(10)]


def test_the_wait_that_the_service_asks_for_is_obeyed():
    backoff = Backoff(0.1, 30.0)
    waits = [backoff.next_s(retry_after_s=2.5) for _ in range(20)]
    assert min(waits) >= 2.5
    assert max(waits) <= 32.5


def test_backoff_grows_to_its_limit_with_jitter_and_starts_anew():
    backoff = Backoff(0.1, 30.0)
    waits = [backoff.next_s() for _ in range(100)]
    assert waits[0] <= 0.1
    assert max(waits[:4]) <= 0.8
    assert max(waits) <= 30.0
    assert len(set(waits)) > 90
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_two_processes_with_one_producer_id_do_not_fight_at_full_speed(service, start):
    run = start("e")
    opens: list[int] = []

    def fault(event, number):
        if event == "batch" and len(opens) < 6:
            opens.append(number)
            raise Refused(grpc.StatusCode.ABORTED, "FENCED")

    service.ledger.fault = fault
    log_steps(run, 0, 100)
    expect(run, service, 100)
    assert run._pipeline.connection._fenced._failures >= 6


def test_refusals_of_the_service_are_counted_and_told(service, start, caplog):
    service.ledger.refuse_keys = {"bad"}
    run = start("e")
    for step in range(10):
        run.log({"good": 1.0, "bad": 2.0}, step=step)
    assert run.flush(20)
    stats = run.stats()
    assert (stats.acknowledged, dict(stats.refused)) == (10, {"key_too_long": 10})
    assert "key bad" in caplog.text


def test_batches_follow_the_limit_of_the_service(service, start):
    service.ledger.limits["max_batch_points"] = 100
    run = start("e")
    log_steps(run, 0, 1)
    assert run.flush(20)
    log_steps(run, 1, 999)
    expect(run, service, 1_000)
    (producer,) = service.ledger.producers.values()
    assert len(producer.batches) >= 11


def test_a_full_buffer_refuses_counts_warns_and_takes_again(service, start, monkeypatch, caplog):
    monkeypatch.setenv("RUNSTREAM_BUFFER_POINTS", "2000")
    service.stop()
    run = start("e")
    log_steps(run, 0, 3_000)
    assert not run.flush(0.2)
    stats = run.stats()
    assert (stats.logged, stats.waiting, dict(stats.refused)) == (3_000, 2_000, {"buffer_full": 1_000})
    service.start()
    assert run.flush(20)
    assert service.ledger.values("loss") == [float(step) for step in range(2_000)]
    run.log({"loss": 7.0})
    assert run.flush(20)
    assert run.stats().acknowledged == 2_001
    run.finish()
    assert "the buffer is full" in caplog.text


@pytest.mark.parametrize("points", [10, 0])
def test_a_service_that_does_not_answer_open_is_given_up(service, start, points, caplog, capfd):
    gate = threading.Event()

    def fault(event, number):
        if event == "open" and number == 1:
            service.ledger.lock.wait_for(gate.is_set, 20)

    service.ledger.fault = fault
    run = start("e", settings={"open_timeout_s": 0.2})
    log_steps(run, 0, points)
    service.ledger.wait_for(lambda: service.ledger.opens >= 2)
    gate.set()
    expect(run, service, points)
    assert "no answer to Open" in caplog.text
    assert "Exception" not in capfd.readouterr().err


def test_a_sender_that_dies_by_a_bug_is_told_and_logging_goes_on(service, start, monkeypatch, caplog):
    run = start("e")
    run.log({"loss": 1.0})
    assert run.flush(20)
    died = threading.Event()
    monkeypatch.setattr(run._pipeline.notices, "died", lambda *_: died.set())
    monkeypatch.setattr(run._pipeline._sender, "_pack", lambda entry: 1 / 0)
    run.log({"loss": 2.0})
    assert not run.flush(20)
    assert died.wait(20)
    run.log({"loss": 3.0})
    stats = run.stats()
    assert (stats.acknowledged, stats.waiting, dict(stats.refused)) == (1, 0, {"sender_died": 2})
    assert not run.finish(timeout=1)
