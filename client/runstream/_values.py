"""What may be a metric's value, and how it becomes a float without making the training process wait.

In `log()`, on the training thread, only mutable or unfamiliar values are looked at (`snapshot`): what lives in host
memory becomes a float at once, what lives on an accelerator is cloned there. The rest happens in the sender
(`to_float`). Nothing is imported for this: libraries are recognised by what their objects have.
"""

from __future__ import annotations

from typing import Any

# Types whose values are immutable and in host memory: kept by reference, converted by the sender. Grows by the few
# scalar types of numpy, as they are met, so that numpy.float32 costs no more than float.
PLAIN: set[type] = {float, int, bool}

_NO_NUMBERS = frozenset("cSUMmO")  # numpy kinds: complex, bytes, str, datetime, timedelta, object


class RefusedValue(Exception):
    """Not a scalar number; the message says what it is."""


def snapshot(value: Any) -> Any:
    """A value that will not change any more: a float, or something that `to_float` takes. Raises RefusedValue.

    Never synchronises an accelerator.
    """
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, (float, int)) and kind.__module__ != "numpy":  # IntEnum; numpy.float64 comes below
        return _host_float(value)
    if isinstance(value, (str, bytes)) or value is None:
        raise RefusedValue(f"is {_name(value)}, not a number")
    shape = getattr(value, "shape", None)
    if shape is None or not hasattr(kind, "__float__"):
        raise RefusedValue(f"is {_name(value)}, not a number")
    if kind.__module__ == "numpy" and not hasattr(kind, "__setitem__") and value.dtype.kind not in _NO_NUMBERS:
        PLAIN.add(kind)  # a scalar type; arrays and records can be written to
        return value
    if len(shape) != 0:
        raise RefusedValue(f"is {_name(value)} of shape {tuple(shape)}, not a single number")
    return _snapshot_scalar(value, kind)


def _snapshot_scalar(value: Any, kind: type) -> Any:
    module = kind.__module__.partition(".")[0]
    if module in ("jax", "jaxlib") or kind.__name__ == "EagerTensor":
        return value  # immutable, and perhaps not computed yet
    if module == "cupy":
        return value.copy()
    if hasattr(value, "detach") and hasattr(value, "clone"):
        detached = value.detach()
        # The clone is queued on the device behind what computes the value; nobody waits for it here.
        return _host_float(detached) if _on_host(value) else detached.clone()
    if getattr(getattr(value, "dtype", None), "kind", "f") in _NO_NUMBERS:
        raise RefusedValue(f"is {_name(value)} of type {value.dtype}, not a number")
    return _host_float(value)


def to_float(value: Any) -> float:
    """The number, on the sender's thread; may wait for an accelerator. Raises RefusedValue."""
    return _host_float(value)


def is_host_integer(value: Any) -> bool:
    """Whether `operator.index` takes it without waiting for a device: an int or a numpy integer, no bool."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        return False
    return isinstance(value, int) or type(value).__module__ == "numpy"


def _on_host(value: Any) -> bool:
    device = getattr(value, "device", None)
    return str(getattr(device, "type", device)) == "cpu"


def _host_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        raise RefusedValue("is too large for a 64-bit float") from None
    except Exception as error:
        raise RefusedValue(f"is {_name(value)} and cannot become a number: {error}") from None


def _name(value: Any) -> str:
    if value is None:
        return "None"
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
