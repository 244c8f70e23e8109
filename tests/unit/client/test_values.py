"""Which objects may be a value, a step or a time, and which thread turns them into numbers."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import os
import sys
import threading
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runstream._device_values import DeviceValue
from runstream._values import RefusedValue, capture, capture_step, describe, to_float, whole_microseconds, whole_step


@dataclasses.dataclass(frozen=True)
class Device:
    type: str


class Tensor:
    """Looks like a torch tensor; on an accelerator, it fails when the thread that logs reads it."""

    shape: tuple[int, ...] = ()

    def __init__(self, value: float, device: str = "cuda", logging_thread: int | None = None) -> None:
        self.value, self.device, self.thread = value, Device(device), logging_thread
        self.detached = self.cloned = False

    def detach(self) -> Any:
        other = Tensor(self.value, self.device.type, self.thread)
        other.detached, other.cloned = True, self.cloned
        return other

    def clone(self) -> Any:
        other = Tensor(self.value, self.device.type, self.thread)
        other.detached, other.cloned = self.detached, True
        return other

    def item(self) -> Any:
        if self.device.type != "cpu":
            assert threading.get_ident() != self.thread, "synchronised the device in log()"
        return self.value


class Colour(enum.IntEnum):
    RED = 3


class Float(float):
    pass


class Index:
    def __index__(self) -> int:
        return 2**62 + 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, 1.5),
        (7, 7.0),
        (True, 1.0),
        (2**53 + 1, float(2**53)),
        (-(2**1000), -(2.0**1000)),
        (Colour.RED, 3.0),
        (Float(0.5), 0.5),
        (Index(), float(2**62)),
        (Decimal("0.1"), 0.1),
        (Fraction(1, 4), 0.25),
        ("0.5", 0.5),
        (np.str_("1e-3"), 1e-3),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.float16(2), 2.0),
        (np.longdouble(2), 2.0),
        (np.int64(-3), -3.0),
        (np.uint64(2**64 - 1), float(2**64 - 1)),
        (np.bool_(True), 1.0),
        (np.array(4.5), 4.5),
        (np.array(4, dtype=np.int8), 4.0),
        (np.array([0.5]), 0.5),
        (np.array([[7]]), 7.0),
        (np.array(Decimal("1.5"), dtype=object), 1.5),
        (np.array([2.5], dtype=object), 2.5),
        (np.ma.array([2.5], mask=[False]), 2.5),
        (np.ma.array(2.5), 2.5),
        (Tensor(2.5, "cpu"), 2.5),
        (math.inf, math.inf),
        (-0.0, -0.0),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],  # the same in every process
)
def test_single_numbers_become_floats(value: object, expected: float) -> None:
    result = to_float(capture(value))
    assert type(result) is float
    assert math.copysign(1, result) == math.copysign(1, expected)
    assert result == expected


@pytest.mark.parametrize("value", [np.float32("nan"), "nan", Decimal("NaN"), np.array([math.nan])], ids=repr)
def test_nan_is_a_value(value: object) -> None:
    assert math.isnan(to_float(capture(value)))


@pytest.mark.parametrize(
    "value",
    [
        "fast",
        "",
        b"1",
        bytearray(b"1"),
        memoryview(b"1"),
        None,
        [1.0],
        (1.0,),
        {1.0},
        1j,
        np.complex64(1),
        np.datetime64("2020-01-01"),
        np.timedelta64(5, "s"),
        datetime.timedelta(seconds=1),
        np.array("1.5"),
        np.array([1.0, 2.0]),
        np.zeros((1, 0)),
        np.array(1j),
        np.array(None),
        np.ma.masked,
        np.ma.array([1.0], mask=[True]),
        np.zeros((), dtype=[("a", "f8")])[()],
        object(),
        lambda: 1.0,
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],  # the same in every process
)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(RefusedValue):
        to_float(capture(value))


def test_an_integer_too_large_for_a_float_is_refused() -> None:
    for value in (10**400, Fraction(10**400), np.array(10**400, dtype=object)):
        with pytest.raises(RefusedValue, match="too large"):
            to_float(capture(value))


def test_a_quantity_with_a_unit_is_refused_and_named() -> None:
    class Quantity:
        shape = ()

        def __float__(self) -> float:
            raise ValueError("Cannot convert from 'meter' to 'dimensionless'")

    with pytest.raises(RefusedValue, match=r"Quantity and cannot .* ValueError: Cannot convert from 'meter'"):
        capture(Quantity())


@pytest.mark.parametrize("array", [np.array(1.0), np.array([1.0]), np.array(1.0, dtype=object)], ids=repr)
def test_an_array_is_read_at_once(array: Any) -> None:
    kept = capture(array)
    array[...] = 2.0
    assert to_float(kept) == 1.0


def test_an_accelerator_tensor_is_detached_and_cloned_but_not_read() -> None:
    tensor = Tensor(1.0, "cuda", threading.get_ident())
    captured = capture(tensor)
    assert isinstance(captured, DeviceValue)
    tensor.value = 2.0
    clone: Any = vars(captured)["_tensor"]
    assert (clone.detached, clone.cloned) == (True, True)
    assert read_in_a_thread(captured) == 1.0


def read_in_a_thread(value: DeviceValue) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(value.read()))
    thread.start()
    thread.join()
    return results[0]


class FakeCuda:
    """The part of torch.cuda that is used: the current stream of a thread, events and streams. It records the calls."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.current = "side"
        self.finished = False
        cuda = self

        class Event:
            def record(self, stream: str) -> None:
                cuda.log.append(f"record on {stream}")

            def query(self) -> bool:
                return cuda.finished

        class Stream:
            def __init__(self, device: Any) -> None:
                cuda.log.append(f"new stream on {device.type}")

            def __str__(self) -> str:
                return "own"

        self.Event, self.Stream = Event, Stream

    def current_stream(self, device: Any) -> str:
        return f"{self.current} of {device.type}"

    def stream(self, stream: object) -> Any:
        cuda = self

        class Within:
            def __enter__(self) -> None:
                cuda.log.append(f"enter {stream}")

            def __exit__(self, *_: object) -> None:
                cuda.log.append("leave")

        return Within()


def test_a_tensor_is_waited_for_on_the_stream_that_computes_it_and_read_on_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    captured = capture(Tensor(1.5, "cuda", threading.get_ident()))
    assert cuda.log == ["record on side of cuda"]
    assert not captured.ready()
    cuda.finished = True
    assert captured.ready()
    assert read_in_a_thread(captured) == 1.5
    assert cuda.log[1:] == ["new stream on cuda", "enter own", "leave"]


def test_a_reading_thread_has_one_stream_for_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    values = [capture(Tensor(1.0, "cuda")), capture(Tensor(2.0, "cuda"))]

    def read() -> None:
        assert [value.read() for value in values] == [1.0, 2.0]

    for _ in range(2):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert cuda.log.count("new stream on cuda") == 2


def test_a_tensor_of_a_graph_that_is_being_captured_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda: Any = FakeCuda()
    cuda.is_current_stream_capturing = lambda: True
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with pytest.raises(RefusedValue, match="log it after the graph was replayed"):
        capture(Tensor(1.0, "cuda"))
    cuda.is_current_stream_capturing = lambda: False
    assert isinstance(capture(Tensor(1.0, "cuda")), DeviceValue)


def test_a_thread_that_asks_for_events_does_so_in_a_mode_that_leaves_captures_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    modes: list[tuple[int, int]] = []

    class Driver:
        def __init__(self, name: str, mode: int) -> None:
            assert name == "libcuda.so.1"
            assert mode & os.RTLD_NOLOAD

        def cuThreadExchangeStreamCaptureMode(self, mode: Any) -> int:  # noqa: N802
            modes.append((threading.get_ident(), mode._obj.value))
            return 0

    monkeypatch.setattr("ctypes.CDLL", Driver)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=FakeCuda()))
    value = capture(Tensor(1.0, "cuda"))
    assert not modes  # the thread that logs keeps its own mode
    threads = [threading.Thread(target=lambda: [value.ready() for _ in range(3)]) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    assert [mode for _, mode in modes] == [2, 2]


def test_a_cupy_array_is_copied_and_waited_for_by_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    done = False

    class Device:
        id = 0

        def __enter__(self) -> Device:
            log.append("device")
            return self

        def __exit__(self, *_: object) -> None:
            pass

    class Event:
        def __init__(self, disable_timing: bool) -> None:
            assert disable_timing

        def record(self) -> None:
            log.append("record")

        @property
        def done(self) -> bool:
            return done

    class Stream:
        def __init__(self, non_blocking: bool) -> None:
            assert non_blocking

    class Array:
        shape = (1,)
        dtype = np.dtype("f4")
        device = Device()

        def copy(self) -> Array:
            log.append("copy")
            return self

        def get(self, stream: Stream) -> Any:
            assert isinstance(stream, Stream)
            log.append("get")
            return np.array([2.5], "f4")

    Array.__module__ = "cupy"
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(Event=Event, Stream=Stream)))
    captured = capture(Array())
    assert log == ["device", "copy", "record"]
    assert not captured.ready()
    done = True
    assert captured.ready()
    assert read_in_a_thread(captured) == 2.5
    assert log[3:] == ["device", "get"]


def test_a_tensorflow_variable_is_read_into_a_tensor_on_its_device() -> None:
    class EagerTensor:
        shape = ()

        def numpy(self) -> Any:
            return np.float32(1.5)

    class Variable:
        shape = ()

        def read_value(self) -> EagerTensor:
            return EagerTensor()

    EagerTensor.__module__ = Variable.__module__ = "tensorflow.python"
    for value in (EagerTensor(), Variable()):
        captured = capture(value)
        assert isinstance(captured, DeviceValue)
        assert captured.read() == 1.5


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (50.0, 50),
        (np.float64(3), 3),
        (True, 1),
        (Colour.RED, 3),
        (np.int32(-3), -3),
        (np.uint64(7), 7),
        (np.bool_(True), 1),
        (np.array(5), 5),
        (np.array([5]), 5),
        (np.array(2**62 + 1), 2**62 + 1),
        (Tensor(2**62 + 1, "cpu"), 2**62 + 1),
        (np.array(2**62 + 1, dtype=object), 2**62 + 1),
        (Index(), 2**62 + 1),
        (Decimal(4), 4),
        (Fraction(4), 4),
        (-(2.0**63), -(2**63)),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],  # the same in every process
)
def test_whole_numbers_of_any_type_are_steps(step: object, expected: int) -> None:
    captured = capture_step(step)
    assert type(captured) is int
    assert captured == expected


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (50.5, "is 50.5, not a whole number"),
        (math.nan, "is nan, not a whole number"),
        (np.float32("inf"), "is inf, not a whole number"),
        ("3", "is a str, not an integer"),
        (None, "is None"),
        ([3], "is list"),
        (2.0**63, "does not fit into 64 bits"),
        (np.uint64(2**64 - 1), "does not fit into 64 bits"),
        (np.array([1, 2]), r"of shape \(2,\)"),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],  # the same in every process
)
def test_other_steps_are_refused(step: object, why: str) -> None:
    with pytest.raises(RefusedValue, match=why):
        capture_step(step)


def test_a_step_on_a_device_is_checked_when_it_is_read() -> None:
    step = capture_step(Tensor(3, "cuda", threading.get_ident()))
    assert isinstance(step, DeviceValue)
    assert whole_step(read_in_a_thread(step)) == 3


@pytest.mark.parametrize(("time", "expected"), [(1.5, 1), (-0.5, -1), (np.int64(7), 7), (np.array(7), 7), (7, 7)])
def test_times_are_rounded_down_to_microseconds(time: object, expected: int) -> None:
    assert whole_microseconds(time) == expected


@pytest.mark.parametrize(
    "time",
    ["7", math.nan, math.inf, None, datetime.datetime(2026, 1, 1), Tensor(1)],
    ids=lambda time: str(time).partition(" at 0x")[0],
)
def test_other_times_are_refused(time: object) -> None:
    with pytest.raises(RefusedValue):
        whole_microseconds(time)


def test_a_time_on_a_device_is_refused() -> None:
    with pytest.raises(RefusedValue, match="on an accelerator"):
        whole_microseconds(Tensor(1))


def test_an_exception_is_described_without_running_its_code() -> None:
    class Bad(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

        __repr__ = __str__

    class Worse(Bad):
        @property
        def args(self) -> Any:  # type: ignore[override]
            raise RuntimeError("no arguments")

    class Never:
        def __str__(self) -> str:
            raise AssertionError("read a value")

    assert describe(Bad("lost", 7, Never())) == "Bad: lost: 7"
    assert describe(Worse()) == "an exception"
