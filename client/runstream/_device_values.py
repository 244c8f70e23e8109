"""Numbers on an accelerator. The training thread captures them: it queues a copy behind the work that computes them,
without waiting. Threads of the `DeviceReader` check whether they are ready, and read them.

PyTorch (for CUDA, XPU and others), CuPy and JAX can tell whether a value is ready. Values of other libraries are read
at once, which may block the reading thread; that is why only replaceable threads read.
"""

from __future__ import annotations

import contextlib
import operator
import os
import sys
import threading
from typing import Any

_CU_STREAM_CAPTURE_MODE_RELAXED = 2  # of CUDA's driver

# Each reading thread has a stream of its own per device. On the default stream, copying a number to the host would wait
# for all work that training has queued there since, perhaps behind a collective operation that never ends.
_thread_state = threading.local()


class DeviceValue:
    """A number that a device has computed, or will compute."""

    def ready(self) -> bool:
        """Whether the number is computed. Never waits; True if the library cannot tell."""
        return True

    def read(self) -> Any:
        """Returns the number; waits for it if it is not ready. Raises what the library raises."""
        raise NotImplementedError


class TorchValue(DeviceValue):
    """A tensor of PyTorch, cloned on its device."""

    def __init__(self, tensor: Any) -> None:
        self._device = tensor.device
        # torch.cuda, torch.xpu, torch.npu, ...
        self._runtime: Any = getattr(sys.modules.get("torch"), str(getattr(self._device, "type", "")), None)
        self._tensor = tensor.clone()
        self._computed = self._record()

    def _record(self) -> Any:
        """Records an event behind the clone, on the current stream. That may not be the default stream, which does not
        wait for it."""
        if not hasattr(self._runtime, "Event"):
            return None
        event = self._runtime.Event()
        if hasattr(self._runtime, "current_stream"):
            event.record(self._runtime.current_stream(self._device))
        else:
            event.record()
        return event

    def ready(self) -> bool:
        if self._computed is None:
            return True
        _allow_queries_during_capture()
        return bool(self._computed.query())

    def read(self) -> Any:
        if not (hasattr(self._runtime, "Stream") and hasattr(self._runtime, "stream")):
            return host_number(self._tensor)
        stream = _own_stream(("torch", self._device), lambda: self._runtime.Stream(device=self._device))
        with self._runtime.stream(stream):
            return host_number(self._tensor)


class CupyValue(DeviceValue):
    """An array of CuPy, copied on its device."""

    def __init__(self, array: Any) -> None:
        cuda = sys.modules["cupy"].cuda
        with array.device:
            self._array = array.copy()
            self._computed = cuda.Event(disable_timing=True)
            self._computed.record()  # on the current stream

    def ready(self) -> bool:
        _allow_queries_during_capture()
        return bool(self._computed.done)

    def read(self) -> Any:
        cuda = sys.modules["cupy"].cuda
        with self._array.device as device:
            stream = _own_stream(("cupy", device.id), lambda: cuda.Stream(non_blocking=True))
            return host_number(self._array.get(stream=stream))


class JaxValue(DeviceValue):
    """An array of JAX, copied on its device: the next step may donate the original's memory."""

    def __init__(self, array: Any) -> None:
        # Of an array on several devices, take the copy on one device of this process. A computation over all of them
        # would have to be started by every process of the job.
        if len(array.sharding.device_set) > 1:
            array = array.addressable_data(0)
        self._array = array.copy()

    def ready(self) -> bool:
        return bool(self._array.is_ready())

    def read(self) -> Any:
        # An explicit transfer, which jax.transfer_guard("disallow") lets pass.
        return host_number(sys.modules["jax"].device_get(self._array))


class OpaqueValue(DeviceValue):
    """An immutable array of any other library."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def read(self) -> Any:
        return host_number(self._array.numpy() if hasattr(self._array, "numpy") else self._array)


def captures_graph(tensor: Any) -> bool:
    """Whether the current stream of a PyTorch tensor's device records a CUDA graph instead of computing anything."""
    runtime: Any = getattr(sys.modules.get("torch"), str(getattr(tensor.device, "type", "")), None)
    return hasattr(runtime, "is_current_stream_capturing") and bool(runtime.is_current_stream_capturing())


def _allow_queries_during_capture() -> None:
    """Lets this thread query events while another one captures a CUDA graph. By default that breaks the capture, and
    with it the training. Needed once per thread; PyTorch does the same for its own NCCL watchdog."""
    if "captures" in _thread_state.__dict__:
        return
    _thread_state.captures = "left alone"
    with contextlib.suppress(Exception):  # no CUDA here, or one without this function
        import ctypes

        driver = ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW)  # only if the process has it already
        driver.cuThreadExchangeStreamCaptureMode(ctypes.byref(ctypes.c_int(_CU_STREAM_CAPTURE_MODE_RELAXED)))


def host_number(value: Any) -> Any:
    """A value with one element as an int or float; exact, if its library supports that."""
    number = value.item() if hasattr(value, "item") else value
    return operator.index(number) if hasattr(type(number), "__index__") else float(number)


def _own_stream(key: Any, make: Any) -> Any:
    streams = _thread_state.__dict__
    if key not in streams:
        streams[key] = make()
    return streams[key]
