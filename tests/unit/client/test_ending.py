"""How runs end: what finish() says is true, nothing raises, and nobody waits for what cannot come."""

import logging
import signal
import threading
import time

import grpc
import pytest

import runstream
from runstream import _ending
from runstream import run as run_module
from runstream.v1 import run_pb2
from tests.unit.client.ledger import Refused

FINISHED = run_pb2.RUN_STATUS_FINISHED


def status_of(service, run):
    return service.ledger.runs[run.run_id].status


@pytest.fixture
def no_threads(monkeypatch):
    """No thread of runstream can be started; all others can."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("runstream-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_without_a_thread_nothing_raises_and_one_warning_says_so(service, no_threads, caplog):
    with runstream.start_run("e", params={"a": 1}, address=service.address) as run:
        run.log({"loss": 1.0})
        run.set_tags({"b": 2})
        assert not run.flush(1)
    assert not run.finish()
    stats = run.stats()
    assert (stats.logged, stats.waiting, dict(stats.refused)) == (1, 0, {"no_threads": 1})
    assert caplog.text.count("no thread can be started (can't start new thread)") == 1
    assert "bug" not in caplog.text


@pytest.mark.parametrize("started", ["runstream-sender", "runstream-connection"])
def test_when_only_some_threads_can_be_started_nothing_raises_either(service, monkeypatch, caplog, started):
    start = threading.Thread.start
    names = ["runstream-sender", "runstream-connection", "runstream-control"]

    def refuse(thread):
        if thread.name in names[names.index(started) + 1 :]:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    run = runstream.start_run("e", address=service.address)
    run.log({"loss": 1.0})
    assert not run.finish(timeout=5)
    assert (run.stats().waiting, dict(run.stats().refused)) == (0, {"no_threads": 1})
    assert caplog.text.count("no thread can be started") == 1
    assert not [one for one in threading.enumerate() if one.name.startswith("runstream-")]


def test_a_call_for_which_there_is_no_thread_is_named_as_the_last_error(service, start, monkeypatch):
    def no_thread(*arguments, **named):
        raise RuntimeError("can't start new thread")

    run = start("e")
    assert run.flush(20)
    monkeypatch.setattr("grpc._channel._UnaryUnaryMultiCallable.future", no_thread)
    assert not run.finish(timeout=0.3)
    assert "can't start new thread" in run.stats().last_error


def test_an_end_that_fails_in_a_way_that_nobody_foresaw_does_not_raise(service, start, monkeypatch, caplog):
    run = start("e")
    monkeypatch.setattr(run_module, "wait_all", lambda *_: 1 / 0)
    with run:
        run.log({"loss": 1.0})
    assert not run.finish()
    assert "ZeroDivisionError" in caplog.text


def held(service, event):
    """The service holds batches from the second on; returns what lets them go."""
    go = threading.Event()

    def fault(what, number):
        if what == event and number >= 2:
            service.ledger.lock.wait_for(go.is_set, 20)

    def let_go():
        with service.ledger.lock:
            go.set()
            service.ledger.lock.notify_all()

    service.ledger.fault = fault
    return let_go


def test_points_that_were_sent_and_not_acknowledged_are_counted_apart(service, start, caplog):
    let_go = held(service, "batch")
    run = start("e")
    for step in range(5_000):
        run.log({"loss": 1.0}, step=step)
    service.ledger.wait_for(lambda: len(service.ledger.points) == 1_000)
    while run.stats().waiting > 4_000:
        time.sleep(0.01)
    assert not run.finish(timeout=0.2)
    refused = dict(run.stats().refused)
    let_go()
    assert refused.keys() <= {"unacknowledged", "not_sent"}
    assert refused["unacknowledged"] >= 1_000
    assert sum(refused.values()) == 4_000
    assert f"{refused['unacknowledged']} were sent but not acknowledged (they may be stored)" in caplog.text


def test_acknowledgements_are_read_until_the_stream_ends(service, start):
    let_go = held(service, "batch")
    run = start("e")
    for step in range(2_000):
        run.log({"loss": 1.0}, step=step)
    service.ledger.wait_for(lambda: len(service.ledger.points) == 1_000)
    while run._pipeline.outbox.highest_sent < 2:
        time.sleep(0.01)
    threading.Timer(0.5, let_go).start()
    assert run.finish(timeout=0.2), "it came in the moment that the end of the stream takes"
    assert (run.stats().acknowledged, dict(run.stats().refused)) == (2_000, {})
    assert status_of(service, run) == FINISHED


def test_a_second_finish_returns_what_the_first_returned(service, start):
    service.stop()
    run = start("e")
    run.log({"loss": 1.0})
    assert not run.finish(timeout=0.1)
    service.start()
    assert not run.finish()
    other = start("e")
    assert other.finish()
    assert other.finish()


def test_two_threads_that_finish_one_run_finish_it_once(service, start, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", str(time.time_ns() % 1_000_000))
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    before = dict(run_module._finished)
    run = start("e", "n")
    answers: list[bool] = []
    barrier = threading.Barrier(4)

    def finish():
        barrier.wait()
        answers.append(run.finish(timeout=20))

    threads = [threading.Thread(target=finish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 4
    assert [method for method, _ in service.runs.calls].count("FinishRun") == 1
    assert sum(run_module._finished.values()) - sum(before.values()) == 1


def interrupt(after_s, action):
    """Runs `action` in a signal handler of the main thread."""
    signal.signal(signal.SIGALRM, lambda *_: action())
    signal.setitimer(signal.ITIMER_REAL, after_s)


@pytest.fixture
def alarm():
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_signal_handler_may_finish_a_run_that_is_finishing(service, start, alarm):
    service.stop()
    run = start("e")
    run.log({"loss": 1.0})
    inner: list[bool] = []
    interrupt(0.3, lambda: inner.append(run.finish("KILLED")))
    assert not run.finish(timeout=1.0)
    assert inner == [False]


def test_ctrl_c_leaves_without_waiting_and_what_is_left_is_counted(service, start, alarm, monkeypatch, caplog):
    monkeypatch.setattr(_ending, "_REPORT_AFTER_S", 0.1)
    service.stop()
    run = start("e")
    run.log({"loss": 1.0})

    def ctrl_c():
        raise KeyboardInterrupt

    interrupt(0.5, ctrl_c)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run.finish(timeout=60)
    assert time.monotonic() - begun < 10
    assert "waiting up to 60 s for the service" in caplog.text
    assert "Ctrl-C to leave" in caplog.text
    assert dict(run.stats().refused) == {"not_sent": 1}
    assert not run.finish(), "and nobody waits again, also not at the end of the process"


def test_an_end_that_is_quick_says_nothing(service, start, caplog):
    with start("e") as run:
        run.log({"loss": 1.0})
    assert caplog.text == ""


def test_after_an_exception_the_traceback_does_not_wait_for_long(service, start):
    service.stop()
    run = start("e", settings={"exit_timeout_s": 0.2})
    begun = time.monotonic()
    with pytest.raises(ValueError, match="diverged"), run:
        raise ValueError("diverged")
    assert time.monotonic() - begun < 10


def test_log_after_finish_is_said_once(service, start, caplog):
    run = start("e")
    run.finish()
    for _ in range(5):
        run.log({"loss": 1.0})
        run.set_tags({"a": 1})
    assert caplog.text.count("log() was called after finish()") == 1
    assert caplog.text.count("tags refused: the run is finished") == 1
    assert dict(run.stats().refused) == {"finished": 5}


# Deleted, and restored.


def delete(service, run, deleted=True):
    lifecycle = run_pb2.LIFECYCLE_DELETED if deleted else run_pb2.LIFECYCLE_ACTIVE
    with service.ledger.lock:
        service.ledger.runs[run.run_id].lifecycle = lifecycle
        for producer in service.ledger.producers.values():
            producer.session += deleted  # fenced


def deleted_run(service, start, **settings):
    """A run that has noticed that it is deleted; 10 points are stored, 10 refused."""
    run = start("e", settings=settings)
    for step in range(10):
        run.log({"loss": float(step)}, step=step)
    assert run.flush(20)
    delete(service, run)
    for step in range(10, 20):
        run.log({"loss": float(step)}, step=step)
    assert not run.flush(20)
    assert dict(run.stats().refused) == {"run_deleted": 10}
    service.ledger.wait_for(lambda: len(service.runs.calls) == 2)  # the next time is in half a minute
    while run._pipeline.control._under_way is not None:  # the answer is on its way
        time.sleep(0.01)
    return run


@pytest.mark.parametrize("noticed_by", ["stream", "call"])
def test_a_run_that_was_restored_takes_points_again_and_gets_its_end(service, start, caplog, noticed_by):
    caplog.set_level(logging.INFO)
    run = start("e", settings={"backoff_max_s": 0.1})
    run.log({"loss": 0.0}, step=0)
    assert run.flush(20)
    delete(service, run)
    if noticed_by == "call":
        run.set_tags({"a": 1})
        while "was deleted" not in caplog.text:
            time.sleep(0.01)
    run.log({"loss": 1.0}, step=1)
    assert not run.flush(20)
    assert dict(run.stats().refused) == {"run_deleted": 1}
    # A call may notice it before the stream of before has ended.
    while run.stats().connected:
        time.sleep(0.01)
    delete(service, run, deleted=False)
    while not run.stats().connected:
        time.sleep(0.01)
    run.log({"loss": 2.0}, step=2)
    assert run.flush(20), run.stats()
    assert service.ledger.values("loss") == [0.0, 2.0]
    assert len(service.ledger.producers) == 2, "numbers that were sent are bound to their points"
    assert run.finish()
    assert status_of(service, run) == FINISHED
    assert caplog.text.count("was deleted; its points are refused") == 1
    assert caplog.text.count("was restored; its points are accepted again. 1 were refused in between") == 1
    stats = run.stats()
    assert stats.logged == stats.acknowledged + sum(stats.refused.values()) == 3


def test_the_end_asks_once_more_for_a_run_that_was_deleted(service, start):
    run = deleted_run(service, start)
    delete(service, run, deleted=False)
    assert run.finish(timeout=20)
    assert status_of(service, run) == FINISHED
    assert dict(run.stats().refused) == {"run_deleted": 10}


def test_a_run_that_stays_deleted_gets_its_end_all_the_same_and_nobody_waits(service, start):
    run = deleted_run(service, start)
    begun = time.monotonic()
    assert not run.finish(timeout=30)
    assert time.monotonic() - begun < 10
    assert status_of(service, run) == FINISHED


def test_points_that_wait_while_a_run_is_deleted_leave_nothing_behind(service, start):
    run = deleted_run(service, start)
    for step in range(5_000):
        run.log({"loss": 1.0}, step=step)
    assert not run.flush(20)
    assert (run.stats().waiting, dict(run.stats().refused)) == (0, {"run_deleted": 5_010})


def test_the_service_is_not_asked_for_a_deleted_run_at_full_speed(service, start):
    run = deleted_run(service, start)
    asked = len(service.runs.calls)
    for _ in range(20):
        run.log({"loss": 1.0})
        assert not run.flush(5)
    assert len(service.runs.calls) == asked
    assert run.stats().refused["run_deleted"] == 30


def test_a_wait_that_the_service_asked_for_is_not_cut_short_by_the_end(service, start):
    service.runs.faults = [Refused(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", retry_s=1.0)]
    run = start("e")
    service.ledger.wait_for(lambda: len(service.runs.calls) == 1)
    asked = time.monotonic()
    assert run.finish(timeout=20)
    assert time.monotonic() - asked > 0.9


@pytest.mark.parametrize("timeout", [None, float("inf"), float("nan"), "soon", -1.0], ids=repr)
def test_a_limit_of_any_kind_ends_the_run_and_raises_nothing(service, start, timeout):
    run = start("e")
    run.log({"loss": 1.0})
    assert run.flush(20)
    run.flush(timeout)
    assert run.finish(timeout=timeout) or timeout == -1.0
    service.ledger.wait_for(lambda: [method for method, _ in service.runs.calls].count("FinishRun") == 1)


def test_a_status_of_any_kind_ends_the_run(service, start, caplog):
    run = start("e")
    assert run.finish(["no", "status"])
    assert status_of(service, run) == run_pb2.RUN_STATUS_FAILED
    assert "expected FINISHED, FAILED or KILLED" in caplog.text


def test_an_end_that_the_service_refuses_is_no_success(service, start, caplog):
    run = start("e")
    assert run.flush(20)
    service.runs.broken = Refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "no good")
    assert not run.finish(timeout=20)
    assert "the end of the run is not set, so it stays RUNNING" in caplog.text


def test_bad_params_and_tags_at_each_step_are_said_once(start, caplog):
    run = start("e")
    for _ in range(50):
        run.set_tags({"t": "v" * 9_000})
        run.log_params([1])
    assert len(caplog.records) == 2


def test_the_last_error_is_the_last_of_all(service, start):
    run = start("e")
    assert run.flush(20)
    service.ledger.fault = lambda event, number: (_ for _ in ()).throw(Refused(grpc.StatusCode.UNKNOWN, "", "first"))
    run.log({"loss": 1.0})
    while "first" not in run.stats().last_error:
        time.sleep(0.01)
    service.ledger.fault = lambda event, number: None
    assert run.flush(20)
    service.runs.faults = [Refused(grpc.StatusCode.UNAVAILABLE, "", "second")]
    run.set_tags({"a": 1})
    assert run.flush(20)
    assert "second" in run.stats().last_error
