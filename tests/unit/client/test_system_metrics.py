"""System metrics: what is sampled, and which journals it goes to."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from runstream._points_journal import PointsJournal
from runstream.journal import Directory, Record, RecordType
from runstream.journal.format import decode_batch, decode_json
from runstream.journal.reader import JournalReader
from runstream.system_metrics import SystemMetrics
from runstream.system_metrics.samplers import GpuSampler, samplers_of_this_machine
from tests.support.polling import until_now

CREATE = {"run_id": "a" * 32, "rank": 3, "attempt": 1, "address": "x:1", "system_metrics": True, "ends_run": True}


class NVMLError(Exception):
    pass


def nvml(**changes: Any) -> types.SimpleNamespace:
    """A driver with two GPUs, of which the second does not report its power."""

    def power(index: int) -> int:
        if index == 1:
            raise NVMLError
        return 250_000

    functions = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": lambda _: types.SimpleNamespace(used=20e9, total=80e9),
        "nvmlDeviceGetUtilizationRates": lambda index: types.SimpleNamespace(gpu=90 + index),
        "nvmlDeviceGetPowerUsage": power,
        "nvmlDeviceGetEnforcedPowerLimit": lambda _: 500_000,
    }
    return types.SimpleNamespace(NVMLError=NVMLError, **{**functions, **changes})


def no_warning(text: str) -> None:
    raise AssertionError(text)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory.choose({"RUNSTREAM_DIR": str(tmp_path)})


def monitor(directory: Directory, **options: Any) -> SystemMetrics:
    return SystemMetrics(directory, no_warning, {"RUNSTREAM_SYSTEM_METRICS_INTERVAL_S": "0.1"}, **options)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def records_of(path: Path) -> list[Record]:
    return JournalReader(path, quarantine=False).read(1 << 20)


def test_names_and_units_are_those_of_mlflow() -> None:
    values: dict[str, float] = {}
    for sampler in samplers_of_this_machine(no_warning):
        values |= sampler.sample()
    percentages = {name for name in values if name.endswith("_percentage") and not name.startswith("gpu_")}
    assert percentages == {"cpu_utilization_percentage", "system_memory_usage_percentage", "disk_usage_percentage"}
    assert all(0 <= values[name] <= 100 for name in percentages)
    assert values["system_memory_usage_megabytes"] > 10
    assert {"disk_usage_megabytes", "disk_available_megabytes", "network_receive_megabytes"} <= values.keys()


def test_a_gpu_that_does_not_report_everything_is_sampled_for_the_rest() -> None:
    assert GpuSampler(nvml()).sample() == {
        "gpu_0_memory_usage_percentage": 25.0,
        "gpu_0_memory_usage_megabytes": 20_000.0,
        "gpu_0_utilization_percentage": 90.0,
        "gpu_0_power_usage_watts": 250.0,
        "gpu_0_power_usage_percentage": 50.0,
        "gpu_1_memory_usage_percentage": 25.0,
        "gpu_1_memory_usage_megabytes": 20_000.0,
        "gpu_1_utilization_percentage": 91.0,
    }


def test_a_run_that_asked_gets_a_journal_of_the_agents_until_its_writer_is_gone(directory: Directory) -> None:
    trainer = PointsJournal(directory, CREATE)
    other = PointsJournal(directory, {**CREATE, "system_metrics": False})
    metrics = monitor(directory)
    metrics.tick()
    assert metrics.active
    (own,) = (path for path in directory.journals() if path.name not in (trainer.writer.id, other.writer.id))
    create = JournalReader(own, quarantine=False).create
    assert (create["run_id"], create["rank"], create["attempt"]) == ("a" * 32, 3, 1)
    assert (create["system_metrics"], create["ends_run"]) == (False, False)

    def batches() -> list[Record]:
        metrics.tick()
        return [record for record in records_of(own) if record.kind is RecordType.BATCH]

    until_now(lambda: len(batches()) >= 2)
    assert len(directory.journals()) == 3  # none for the journal of the agent itself
    steps = [list(memoryview(decode_batch(record.payload).step).cast("B").cast("q")) for record in batches()]
    assert all(len(set(one)) == 1 for one in steps)
    assert steps == sorted(steps)

    trainer.close()

    def ended() -> bool:
        metrics.tick()
        return not metrics.active

    until_now(ended)
    last = records_of(own)[-1]
    assert last.kind is RecordType.FINISH
    assert decode_json(last.payload)["ends_run"] is False
    assert JournalReader(own, quarantine=False).is_complete() is False  # it is complete when it has been read
    other.close()


def test_one_broken_sampler_does_not_stop_the_others(directory: Directory) -> None:
    class Broken:
        def sample(self) -> dict[str, float]:
            raise RuntimeError("driver")

    class Works:
        def sample(self) -> dict[str, float]:
            return {"x": 1.0}

    warnings: list[str] = []
    clock = Clock()
    trainer = PointsJournal(directory, CREATE)
    metrics = SystemMetrics(
        directory,
        warnings.append,
        {"RUNSTREAM_SYSTEM_METRICS_INTERVAL_S": "soon"},
        samplers=lambda _: [Broken(), Works()],
        clock=clock,
    )
    for _ in range(3):
        metrics.tick()
        clock.now_s += 3_600.0
    metrics.close()
    trainer.close()
    assert len(warnings) == 2
    assert "RUNSTREAM_SYSTEM_METRICS_INTERVAL_S='soon' is not a number" in warnings[0]
    assert "Broken" in warnings[1]
    (own,) = (path for path in directory.journals() if path.name != trainer.writer.id)
    assert [record.kind for record in records_of(own)][-2:] == [RecordType.BATCH, RecordType.FINISH]


def test_system_metrics_stop_before_they_fill_the_directory(directory: Directory) -> None:
    directory.limit_bytes = 1
    trainer = PointsJournal(directory, CREATE)
    clock = Clock()
    metrics = monitor(directory, clock=clock)
    metrics.tick()
    clock.now_s = 3_600.0
    metrics.tick()
    metrics.close()
    trainer.close()
    (own,) = (path for path in directory.journals() if path.name != trainer.writer.id)
    assert [record.kind for record in records_of(own)] == [RecordType.CREATE, RecordType.FINISH]


def test_libraries_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    warnings: list[str] = []
    assert samplers_of_this_machine(warnings.append) == []
    assert "pip install 'runstream[system]'" in warnings[0]


def test_params_and_tags_go_into_records_of_bounded_size(directory: Directory) -> None:
    journal = PointsJournal(directory, CREATE)
    tags = {f"t{index}": "x" * 8_000 for index in range(100)}
    journal.set_tags(tags)
    journal.sync()
    records = [record for record in records_of(journal.writer.path) if record.kind is RecordType.TAGS]
    assert len(records) > 1
    assert all(len(record.payload) < 300_000 for record in records)
    assert {key: value for record in records for key, value in decode_json(record.payload).items()} == tags
    journal.close()
