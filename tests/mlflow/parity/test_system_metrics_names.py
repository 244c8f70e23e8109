from __future__ import annotations

from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from runstream.system_metrics.samplers import samplers_of_this_machine


def test_the_names_are_mlflows_own() -> None:
    theirs: set[str] = set()
    for one in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        one.collect_metrics()
        theirs |= one.metrics.keys()
    ours: set[str] = set()
    for sampler in samplers_of_this_machine(print):
        ours |= {name for name in sampler.sample() if not name.startswith("gpu_")}
    assert ours == theirs
