"""Threads that read device values: one that hangs is replaced; a value that is not ready is asked again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from runstream import _device_reader
from runstream._device_reader import DevicePoint, DeviceReader
from runstream._device_values import DeviceValue
from tests.support.polling import until_now


class Value(DeviceValue):
    """Ready from `computed` on; reading it, or asking whether it is ready, hangs until `released`."""

    def __init__(self, number: object = 1.0, hangs_in: str = "", computed: bool = True) -> None:
        self.number, self.hangs_in = number, hangs_in
        self.computed, self.hanging, self.released = threading.Event(), threading.Event(), threading.Event()
        self.questions = 0
        if computed:
            self.computed.set()

    def ready(self) -> bool:
        self.questions += 1
        self._hang("ready")
        return self.computed.is_set()

    def read(self) -> object:
        self._hang("read")
        if isinstance(self.number, Exception):
            raise self.number
        return self.number

    def _hang(self, where: str) -> None:
        if self.hangs_in == where:
            self.hanging.set()
            self.released.wait(60)


def point(value: object, step: object = 0) -> DevicePoint:
    return DevicePoint(1, "loss", step, 0, value, time.monotonic())


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeviceReader]:
    monkeypatch.setattr(_device_reader, "_STUCK_S", 0.05)
    reader = DeviceReader(lambda: None)
    yield reader
    reader.stop()


def collected(reader: DeviceReader, enough: Callable[[list[DevicePoint]], bool]) -> list[DevicePoint]:
    points: list[DevicePoint] = []
    deadline = time.monotonic() + 20
    while not enough(points) and time.monotonic() < deadline:
        points += reader.collect(0.02)
    return points


def started_since(before: list[threading.Thread]) -> int:
    return sum(t.name == "runstream-device-reader" and t not in before for t in threading.enumerate())


def test_ready_points_are_read_in_one_round_and_in_order(reader: DeviceReader) -> None:
    points = [point(Value(float(n))) for n in range(300)]
    reader.submit(points)
    read = reader.collect(20)
    assert read == points
    assert [one.value for one in read] == [float(n) for n in range(300)]


def test_a_point_that_is_not_ready_is_asked_again_and_holds_up_no_other(reader: DeviceReader) -> None:
    late, other = Value(1.0, computed=False), Value(2.0)
    reader.submit([point(late), point(other)])
    assert [one.value for one in collected(reader, lambda points: len(points) == 1)] == [2.0]
    asked = late.questions
    until_now(lambda: late.questions >= asked + 3)
    late.computed.set()
    assert [one.value for one in collected(reader, lambda points: len(points) == 1)] == [1.0]


@pytest.mark.parametrize("where", ["ready", "read"])
def test_a_thread_that_hangs_is_replaced_and_its_point_is_read_later(reader: DeviceReader, where: str) -> None:
    hanging = Value(1.0, hangs_in=where)
    reader.submit([point(hanging), point(Value(2.0))])
    assert [one.value for one in collected(reader, lambda points: len(points) == 1)] == [2.0]
    hanging.released.set()
    assert [one.value for one in collected(reader, lambda points: len(points) == 1)] == [1.0]


def test_threads_that_hang_are_bounded_and_used_again_when_they_return(reader: DeviceReader) -> None:
    before = threading.enumerate()
    hanging = [Value(float(n), hangs_in="read") for n in range(10)]
    reader.submit([point(value) for value in hanging])
    deadline = time.monotonic() + 20
    while sum(value.hanging.is_set() for value in hanging) < 4 and time.monotonic() < deadline:
        reader.collect(0.02)
    for _ in range(10):  # longer than it takes to leave a thread behind
        reader.collect(0.02)
    assert sum(value.hanging.is_set() for value in hanging) == started_since(before) == 4
    for value in hanging:
        value.released.set()
    assert len(collected(reader, lambda points: len(points) == 10)) == 10
    until_now(lambda: started_since(before) == 1)


def test_an_abandoned_point_is_not_read(reader: DeviceReader) -> None:
    late = Value(computed=False)
    abandoned = point(late)
    reader.submit([abandoned])
    reader.collect(0.02)
    abandoned.abandoned = True
    reader.submit([point(Value(2.0))])
    collected(reader, lambda points: len(points) == 1)
    asked = late.questions
    reader.submit([point(Value(3.0))])
    assert collected(reader, lambda points: len(points) == 1)[0].value == 3.0
    assert late.questions <= asked + 1


def test_bad_values_and_steps_are_refused_each_on_its_own(reader: DeviceReader) -> None:
    points = [
        point(Value(RuntimeError("device lost"))),
        point(Value("text")),
        point(Value(10**400)),
        point(1.0, Value(2.5)),
        point(1.0, Value(RuntimeError("device lost"))),
        point(Value(2.0), Value(7.0)),
    ]
    reader.submit(points)
    assert reader.collect(20) == points
    assert [one.refusal for one in points] == [
        ("bad_value", "could not be read from its device: RuntimeError: device lost"),
        ("bad_value", "could not be read from its device: ValueError: could not convert string to float: 'text'"),
        ("bad_value", "is too large for a 64-bit float"),
        ("bad_step", "has a step that is 2.5, not a whole number"),
        ("bad_step", "has a step that could not be read from its device: RuntimeError: device lost"),
        None,
    ]
    assert (points[-1].step, points[-1].value) == (7, 2.0)


def test_without_a_thread_points_wait_until_there_is_one(reader: DeviceReader, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def fail(self: threading.Thread) -> None:
        if self.name == "runstream-device-reader":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", fail)
    reader.submit([point(Value(1.0))])
    assert reader.collect(0.01) == []
    monkeypatch.setattr(threading.Thread, "start", start)
    assert [one.value for one in collected(reader, lambda points: len(points) == 1)] == [1.0]
