"""Checks the values and steps of `log()`, and captures them without making the training thread wait.

A value in host memory becomes a number at once, since arrays may change after log(). A value on an accelerator becomes
a `DeviceValue`, which a thread of runstream reads when the device has computed it. No library is imported for that:
their objects are recognised by their attributes.
"""

from __future__ import annotations

import math
import operator
from typing import Any

from runstream._device_values import (
    CupyValue,
    DeviceValue,
    JaxValue,
    OpaqueValue,
    TorchValue,
    captures_graph,
    host_number,
)

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

# Types whose values are immutable and in host memory: log() keeps a reference, and the recorder's thread converts it.
# The few scalar types of numpy and ml_dtypes are added when they first appear, so that numpy.float32 costs no more than
# float.
IMMUTABLE_TYPES: set[type] = {float, int, bool}

_NON_NUMERIC_KINDS = frozenset("cSUMm")  # numpy kinds: complex, bytes, str, datetime, timedelta
_SCALAR_MODULES = ("numpy", "ml_dtypes")


class RefusedValue(Exception):
    """The value is not a single number; the message says what it is instead."""


def capture(value: Any) -> Any:
    """Returns a number in host memory, or a `DeviceValue`. Raises RefusedValue, or whatever the value itself raises.

    Never synchronises an accelerator.
    """
    kind = type(value)
    if kind in IMMUTABLE_TYPES:
        return value
    if value is None:
        raise RefusedValue("is None, not a number")
    if isinstance(value, str):
        return _parsed(value)
    if isinstance(value, (bytes, bytearray, memoryview, complex)):
        raise RefusedValue(f"is {_name(value)}, not a number")
    shape = getattr(value, "shape", None)
    if shape is not None:
        return _capture_array(value, shape)
    # Decimal, Fraction, IntEnum and other subclasses of int and float
    if hasattr(kind, "__float__") or hasattr(kind, "__index__"):
        return _converted(value)
    raise RefusedValue(f"is {_name(value)}, not a number")


def capture_step(value: Any) -> int | DeviceValue:
    """Returns a step: a whole number of 64 bits, from any form that `capture` accepts except text; or a `DeviceValue`,
    which `whole_step` checks when it is read. Raises like `capture`."""
    if isinstance(value, str):
        raise RefusedValue("is a str, not an integer")
    captured = capture(value)
    return captured if isinstance(captured, DeviceValue) else whole_step(captured)


def whole_step(number: Any) -> int:
    """The number as a step; raises RefusedValue if it is not whole or does not fit into 64 bits."""
    try:
        step = operator.index(number)  # exact beyond 2**53, where a float is not
    except TypeError:
        number = float(number)
        if not number.is_integer():
            raise RefusedValue(f"is {number!r}, not a whole number") from None
        step = int(number)
    if not INT64_MIN <= step <= INT64_MAX:
        raise RefusedValue("does not fit into 64 bits")
    return step


def whole_microseconds(value: Any) -> int:
    """A time in microseconds; a float is rounded down. Raises like `capture`."""
    if isinstance(value, str):
        raise RefusedValue("is a str, not a number")
    number = capture(value)
    if isinstance(number, DeviceValue):
        raise RefusedValue("is on an accelerator; it is needed in host memory")
    try:
        return operator.index(number)
    except TypeError:
        number = float(number)
    if not math.isfinite(number):
        raise RefusedValue(f"is {number!r}")
    return math.floor(number)


def to_float(number: Any) -> float:
    """A captured number, or one that a `DeviceValue` has read, as a float. Raises RefusedValue."""
    try:
        return float(number)
    except OverflowError:
        raise RefusedValue("is too large for a 64-bit float") from None


def describe(error: BaseException) -> str:
    """Describes an exception without calling its own code: its `str` may read a tensor, or raise."""
    try:
        words = [str(part) for part in error.args if type(part) in (str, int)]
        return ": ".join([type(error).__name__, *words])[:300]
    except Exception:
        return "an exception"


def _parsed(text: str) -> float:
    # MLflow accepts text as well, in its client and over HTTP.
    try:
        return float(text)
    except ValueError:
        raise RefusedValue("is text that is no number") from None


def _capture_array(value: Any, shape: Any) -> Any:
    kind = type(value)
    dtype = getattr(value, "dtype", None)
    dtype_kind = getattr(dtype, "kind", "")
    if dtype_kind in _NON_NUMERIC_KINDS or getattr(dtype, "is_complex", False):
        raise RefusedValue(f"is {_name(value)} of type {dtype}, not a number")
    if kind.__module__ in _SCALAR_MODULES and not hasattr(kind, "__setitem__"):
        IMMUTABLE_TYPES.add(kind)  # a scalar type; arrays and records can be written to
        return value
    if hasattr(value, "placements") and hasattr(value, "to_local"):
        return _capture_distributed(value)
    sizes = tuple(shape)
    if any(size != 1 for size in sizes):
        raise RefusedValue(f"is {_name(value)} of shape {sizes}, not a single number")
    return _capture_single(value, kind, dtype_kind)


def _capture_single(value: Any, kind: type, dtype_kind: str) -> Any:
    library = kind.__module__.partition(".")[0]
    if library in ("jax", "jaxlib"):
        return _capture_jax(value)
    if library == "cupy":
        return CupyValue(value)
    if library == "tensorflow":
        # An EagerTensor is immutable; a variable is read into one, on its device.
        return OpaqueValue(value.read_value() if hasattr(value, "read_value") else value)
    if hasattr(value, "detach") and hasattr(value, "clone"):
        detached = value.detach()
        if _on_host(detached):
            return _converted(detached)
        if captures_graph(detached):
            raise RefusedValue(
                "is a tensor of a CUDA graph that is being captured; log it after the graph was replayed"
            )
        return TorchValue(detached)
    if library == "numpy" and dtype_kind == "O":
        return _capture_object(value)
    if library == "numpy" and getattr(value, "mask", None) is not None and value.mask.item():
        raise RefusedValue("is a masked value, not a number")
    return _converted(value)


def _capture_jax(value: Any) -> Any:
    if not hasattr(value, "is_ready"):
        raise RefusedValue(
            f"is {_name(value)}: JAX is tracing the function that calls log(). Return the value and log it outside, or "
            "log from jax.debug.callback"
        )
    if value.is_deleted():
        raise RefusedValue("is a JAX array that was donated before log()")
    if value.is_ready() and value.platform() == "cpu":
        return _converted(value)
    return JaxValue(value)


def _capture_distributed(value: Any) -> Any:
    """Captures a DTensor of torch, whose local part is the whole number unless it is partial."""
    if any(placement.is_partial() for placement in value.placements):
        raise RefusedValue(
            "is a partial DTensor: this rank holds only a part of the sum. Call full_tensor() on all ranks and log that"
        )
    return capture(value.detach().to_local())


def _capture_object(value: Any) -> Any:
    """Captures the object in a numpy array of Python objects."""
    inner = value.item()
    if getattr(inner, "shape", None):
        raise RefusedValue(f"is an array that holds {_name(inner)}, not a single number")
    return capture(inner)


def _converted(value: Any) -> Any:
    try:
        return host_number(value)
    except OverflowError:
        raise RefusedValue("is too large for a 64-bit float") from None
    except Exception as error:
        raise RefusedValue(f"is {_name(value)} and cannot become a number: {describe(error)}") from None


def _on_host(tensor: Any) -> bool:
    device = getattr(tensor, "device", None)
    return str(getattr(device, "type", device)) == "cpu"


def _name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
