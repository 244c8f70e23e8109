"""What may be a value, and on which thread it becomes a float."""

import enum
import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from runstream._values import RefusedValue, is_host_integer, snapshot, to_float


class Tensor:
    """Looks like a torch tensor; on an accelerator, it fails when the thread that logs reads it."""

    shape = ()

    def __init__(self, value: float, device: str = "cuda", logging_thread: int | None = None) -> None:
        self.value, self.device, self.thread = value, SimpleNamespace(type=device), logging_thread
        self.detached = self.cloned = False

    def detach(self):
        other = Tensor(self.value, self.device.type, self.thread)
        other.detached, other.cloned = True, self.cloned
        return other

    def clone(self):
        other = Tensor(self.value, self.device.type, self.thread)
        other.detached, other.cloned = self.detached, True
        return other

    def __float__(self):
        if self.device.type != "cpu":
            assert threading.get_ident() != self.thread, "synchronised the device in log()"
        return float(self.value)


class Colour(enum.IntEnum):
    RED = 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, 1.5),
        (7, 7.0),
        (True, 1.0),
        (2**53 + 1, float(2**53)),
        (-(2**1000), -(2.0**1000)),
        (Colour.RED, 3.0),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.float16(2), 2.0),
        (np.longdouble(2), 2.0),
        (np.int64(-3), -3.0),
        (np.uint64(2**64 - 1), float(2**64 - 1)),
        (np.bool_(True), 1.0),
        (np.array(4.5), 4.5),
        (np.array(4, dtype=np.int8), 4.0),
        (Tensor(2.5, "cpu"), 2.5),
        (math.inf, math.inf),
        (-0.0, -0.0),
    ],
)
def test_scalar_numbers_become_floats(value, expected):
    result = to_float(snapshot(value))
    assert type(result) is float
    assert math.copysign(1, result) == math.copysign(1, expected)
    assert result == expected


def test_nan_is_a_value():
    assert math.isnan(to_float(snapshot(np.float32("nan"))))


@pytest.mark.parametrize(
    "value",
    [
        "1.5",
        b"1",
        None,
        [1.0],
        {},
        1j,
        np.complex64(1),
        np.str_("1.5"),
        np.datetime64("2020-01-01"),
        np.timedelta64(5, "s"),
        np.array("1.5"),
        np.array([1.0]),
        np.zeros((1, 1)),
        np.array(1j),
        np.array(None),
        np.zeros((), dtype=[("a", "f8")])[()],
        object(),
        lambda: 1.0,
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],  # the same in every process
)
def test_anything_else_is_refused(value):
    with pytest.raises(RefusedValue):
        to_float(snapshot(value))


def test_an_integer_too_large_for_a_float_is_refused():
    with pytest.raises(RefusedValue, match="too large"):
        to_float(snapshot(10**400))


def test_a_mutable_array_is_read_at_once():
    array = np.array(1.0)
    kept = snapshot(array)
    array[...] = 2.0
    assert to_float(kept) == 1.0


def test_an_accelerator_tensor_is_detached_and_cloned_but_not_read():
    tensor = Tensor(1.0, "cuda", threading.get_ident())
    kept = snapshot(tensor)
    tensor.value = 2.0
    assert (kept.detached, kept.cloned) == (True, True)
    results = []
    thread = threading.Thread(target=lambda: results.append(to_float(kept)))
    thread.start()
    thread.join()
    assert results == [1.0]


def test_a_jax_array_is_kept_as_it_is():
    kind = type("ArrayImpl", (), {"__module__": "jaxlib._jax", "shape": (), "__float__": lambda self: 1.0})
    array = kind()
    assert snapshot(array) is array


def test_a_tensor_that_cannot_become_a_number_is_refused():
    class Broken(Tensor):
        def __float__(self) -> float:
            raise RuntimeError("device lost")

    with pytest.raises(RefusedValue, match="device lost"):
        to_float(Broken(1.0))


def test_only_integers_in_host_memory_are_steps():
    assert is_host_integer(3)
    assert is_host_integer(np.int32(3))
    for wrong in (True, 3.0, "3", None, np.float64(3), Tensor(3)):
        assert not is_host_integer(wrong)
