"""Values on an accelerator: read by another thread when they are ready, and never in the way of others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from runstream._packer import DeviceLimits
from tests.support.polling import until_now
from tests.unit.client.conftest import StartRun
from tests.unit.client.stored_journals import TestAgent
from tests.unit.client.test_values import Tensor


def test_an_accelerator_value_is_read_by_another_thread(agent: TestAgent, start: StartRun) -> None:
    run = start("e")
    run.log({"loss": Tensor(1.25, "cuda", threading.get_ident())}, step=0)
    assert run.flush(120)
    assert agent.values("loss") == [1.25]


class Gate:
    """A value on a device that cannot be asked whether it is ready: reading it waits for `open`."""

    shape = ()
    device = "cuda:0"

    def __init__(self, value: float = 1.0) -> None:
        self.value = value
        self.open = threading.Event()
        self.reading = threading.Event()

    def detach(self) -> Gate:
        return self

    def clone(self) -> Gate:
        return self

    def __float__(self) -> float:
        self.reading.set()
        self.open.wait(60)
        return self.value

    def __repr__(self) -> str:
        raise AssertionError("the value was read to be shown")


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is opened at the end of the test, so that no thread hangs."""
    gate = Gate()
    yield gate
    gate.open.set()


def test_a_device_value_that_never_becomes_ready_holds_up_nothing_else(
    agent: TestAgent, start: StartRun, gate: Gate
) -> None:
    run = start("e")
    run.log({"loss": gate, "lr": 0.1}, step=0)
    for step in range(30):
        run.log({"heartbeat": float(step)}, step=step)
    until_now(lambda: run.stats().acknowledged == 31)
    assert (run.stats().acknowledged, run.stats().waiting) == (31, 1)
    assert not run.flush(0.1)
    gate.open.set()
    assert run.flush(120)
    assert agent.values("loss") == [1.0]
    assert run.stats().acknowledged == 32


def test_another_device_value_is_read_although_one_hangs(
    agent: TestAgent, start: StartRun, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstream._device_reader._STUCK_S", 0.05)
    run = start("e")
    run.log({"hangs": gate}, step=0)
    assert gate.reading.wait(20)
    run.log({"loss": Tensor(0.5, "cuda", threading.get_ident())}, step=1)
    agent.wait_for(lambda: bool(agent.points))
    assert agent.values("loss") == [0.5]
    gate.open.set()
    assert run.flush(120)
    assert agent.values("hangs") == [1.0]


def test_a_device_value_that_is_not_ready_at_the_end_is_counted_and_named(
    agent: TestAgent, start: StartRun, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    run = start("e")
    run.log({"loss": gate}, step=0)
    run.log({"heartbeat": 1.0}, step=0)
    assert gate.reading.wait(20)
    assert not run.finish(timeout=2.5)
    assert "waiting up to 0 s for 1 values that their device has not computed yet" in caplog.text
    assert "refused: {'not_ready': 1}" in caplog.text
    assert dict(run.stats().refused) == {"not_ready": 1}
    assert (run.stats().acknowledged, run.stats().waiting, run.stats().buffered_bytes < 1_000) == (1, 0, True)
    assert "metric 'loss' had not been computed by its device when the run ended" in caplog.text
    assert agent.status(run.run_id) == "FINISHED"


def test_a_device_value_that_is_late_is_reported_with_its_key_and_given_up_in_the_end(
    start: StartRun,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = DeviceLimits(max_points=2, report_after_s=0.0, give_up_after_s=1.0)
    monkeypatch.setattr("runstream._packer.DeviceLimits", lambda: limits)
    run = start("e")
    for step in range(3):
        run.log({"loss": gate}, step=step)
    run.log({"heartbeat": 1.0}, step=0)
    assert run.flush(120)  # the markers go on, too
    assert dict(run.stats().refused) == {"not_ready": 3}
    assert run.stats().acknowledged == 1
    assert caplog.text.count("a value of metric 'loss' has not been computed by its device for") == 1


def test_a_step_on_a_device_is_read_later_and_steps_count_on_from_it(agent: TestAgent, start: StartRun) -> None:
    run: Any = start("e")
    thread = threading.get_ident()
    run.log({"loss": 1.0, "lr": Tensor(0.5, "cuda", thread)}, step=Tensor(7, "cuda", thread))
    run.log({"loss": 2.0}, step=Tensor(7.5, "cuda", thread))
    assert run.flush(120)
    run.log({"loss": 3.0})
    assert run.flush(120)
    assert sorted(point[:2] + point[3:4] for point in agent.points) == [
        ("loss", 7, 1.0),
        ("loss", 8, 3.0),
        ("lr", 7, 0.5),
    ]
    assert dict(run.stats().refused) == {"bad_step": 1}


def test_a_step_on_a_device_is_not_shown_on_the_thread_that_logs(start: StartRun) -> None:
    class Shown(Tensor):
        def __repr__(self) -> str:
            raise AssertionError("the step was read to be shown")

    run: Any = start("e")
    for _ in range(3):
        run.log({"loss": 1.0}, step=Shown(1.5, "cuda", threading.get_ident()))
    assert run.flush(120)
    assert dict(run.stats().refused) == {"bad_step": 3}
