"""Samples this machine, under the names and in the units of MLflow's system metrics, without their prefix `system/`.

The libraries are imported when they are first used: most agents need neither.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

_MEGABYTE = 1e6


class Sampler(Protocol):
    """One kind of metrics."""

    def sample(self) -> dict[str, float]:
        """The current values, by name."""


class CpuSampler:
    """CPU since the last sample, and memory."""

    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil
        psutil.cpu_percent()  # the first call has nothing to compare with

    def sample(self) -> dict[str, float]:
        """The current values, by name."""
        memory = self._psutil.virtual_memory()
        return {
            "cpu_utilization_percentage": self._psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
        }


class DiskSampler:
    """The disk of the root directory."""

    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil

    def sample(self) -> dict[str, float]:
        """The current values, by name."""
        disk = self._psutil.disk_usage(os.sep)
        return {
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / _MEGABYTE,
            "disk_available_megabytes": disk.free / _MEGABYTE,
        }


class NetworkSampler:
    """Bytes of all interfaces since this object was made."""

    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil
        self._first = psutil.net_io_counters()

    def sample(self) -> dict[str, float]:
        """The current values, by name."""
        counters = self._psutil.net_io_counters()
        if counters is None or self._first is None:  # no interface at all
            return {}
        return {
            "network_receive_megabytes": (counters.bytes_recv - self._first.bytes_recv) / _MEGABYTE,
            "network_transmit_megabytes": (counters.bytes_sent - self._first.bytes_sent) / _MEGABYTE,
        }


class GpuSampler:
    """GPUs of NVIDIA, by their index. Values that a GPU does not report are left out."""

    def __init__(self, nvml: Any) -> None:
        """Raises NVMLError if there is no driver."""
        self._nvml = nvml
        nvml.nvmlInit()
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]

    def sample(self) -> dict[str, float]:
        """The current values, by name."""
        values: dict[str, float] = {}
        for index, handle in enumerate(self._handles):
            for part in (self._memory, self._utilization, self._power):
                try:
                    found = part(handle)
                except self._nvml.NVMLError:  # for example, power of a GPU that is shared by MIG
                    continue
                values.update({f"gpu_{index}_{name}": value for name, value in found.items()})
        return values

    def _memory(self, handle: Any) -> dict[str, float]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            "memory_usage_percentage": memory.used / memory.total * 100,
            "memory_usage_megabytes": memory.used / _MEGABYTE,
        }

    def _utilization(self, handle: Any) -> dict[str, float]:
        return {"utilization_percentage": float(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu)}

    def _power(self, handle: Any) -> dict[str, float]:
        milliwatts = self._nvml.nvmlDeviceGetPowerUsage(handle)
        limit = self._nvml.nvmlDeviceGetEnforcedPowerLimit(handle)
        return {"power_usage_watts": milliwatts / 1_000, "power_usage_percentage": milliwatts / limit * 100}


def samplers_of_this_machine(warn: Callable[[str], None]) -> list[Sampler]:
    """The samplers whose libraries are installed. `warn` is called for missing libraries, unless the machine has no
    GPU."""
    samplers: list[Sampler] = []
    try:
        import psutil
    except ImportError:
        warn("system metrics of CPU, memory, disk and network need psutil: pip install 'runstream[system]'")
    else:
        samplers += [CpuSampler(psutil), DiskSampler(psutil), NetworkSampler(psutil)]
    try:
        import pynvml  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        if os.path.exists("/proc/driver/nvidia"):
            warn("system metrics of GPUs need nvidia-ml-py: pip install 'runstream[system]'")
        return samplers
    try:
        samplers.append(GpuSampler(pynvml))
    except pynvml.NVMLError:
        if os.path.exists("/proc/driver/nvidia"):
            warn("no system metrics of GPUs: the driver of NVIDIA does not respond")
    return samplers
