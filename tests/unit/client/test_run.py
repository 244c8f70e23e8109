"""The handle: arguments, params and tags, ends, and that log() raises nothing."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runstream
from runstream._packer import DeviceLimits
from runstream._settings import Settings
from runstream.journal import RecordType
from runstream.transport.limits import Limits
from tests.support.polling import until_now
from tests.unit.client.stored_journals import TestAgent
from tests.unit.client.test_values import Tensor


def test_a_run_is_created_filled_and_finished(agent: TestAgent, start: Callable[..., runstream.Run]) -> None:
    with start("digits", "mlp", params={"lr": 0.1}, tags={"who": "me"}) as run:
        run.log({"loss": 0.5}, step=3, time_unix_us=42)
        run.log_params({"depth": 2})
        run.set_tags({"who": "you"})
    stored = agent.runs[run.run_id]
    assert (stored.experiment, stored.name) == ("digits", "mlp")
    assert dict(stored.params) == {"lr": "0.1", "depth": "2"}
    assert dict(stored.tags) == {"who": "you"}
    assert stored.status == "FINISHED"
    assert agent.points == [("loss", 3, 42, 0.5, 0, 0)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(2), "FAILED"),
    ],
    ids=repr,
)
def test_an_exception_sets_the_end_status(
    agent: TestAgent, start: Callable[..., runstream.Run], error: Any, status: Any
) -> None:
    run = start("e")
    run.log({"loss": 1.0})
    with pytest.raises(type(error)), run:
        raise error
    assert agent.status(run.run_id) == status
    assert len(agent.points) == 1


def test_other_ranks_detach_without_ending_the_run(agent: TestAgent, start: Callable[..., runstream.Run]) -> None:
    first = start("e")
    second = start("e", run_id=first.run_id, rank=1, attempt=2)
    second.log({"loss": 1.0}, step=0)
    assert second.finish()
    assert agent.status(first.run_id) == "RUNNING"
    assert agent.points[0][4:] == (1, 2)
    assert first.finish()
    assert agent.status(first.run_id) == "FINISHED"


def test_a_rank_alone_in_its_run_ends_it(agent: TestAgent, start: Callable[..., runstream.Run]) -> None:
    run = start("e", rank=3)
    assert run.finish("KILLED")
    assert agent.status(run.run_id) == "KILLED"


def test_a_loop_of_trainings_in_one_job_makes_one_run_each_and_open_handles_share(
    agent: TestAgent, start: Callable[..., runstream.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", str(time.time_ns() % 1_000_000))
    first, beside = start("e", "n"), start("e", "n")
    assert first.run_id == beside.run_id
    first.finish()
    assert start("e", "n").run_id != first.run_id


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"experiment": 7}, TypeError),
        ({"experiment": ""}, ValueError),
        ({"experiment": "e" * 501}, ValueError),
        ({"name": "a\nb"}, ValueError),
        ({"run_id": "xyz"}, ValueError),
        ({"run_id": 7}, TypeError),
        ({"rank": -1}, ValueError),
        ({"rank": "0"}, TypeError),
        ({"attempt": 2**31}, ValueError),
        ({"params": [1]}, TypeError),
        ({"params": {7: 1}}, TypeError),
        ({"params": {"k" * 251: 1}}, ValueError),
        ({"params": {"k": "v" * 6_001}}, ValueError),
        ({"tags": {"k": "v" * 8_001}}, ValueError),
        ({"tags": {"": "v"}}, ValueError),
        ({"tags": {"k": "\ud800"}}, ValueError),
        ({"address": "localhost"}, ValueError),
        ({"address": "http://localhost:5000"}, ValueError),
        ({"address": 50051}, TypeError),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_argument_raises_at_once(arguments: Any, error: Any) -> None:
    with pytest.raises(error):
        runstream.start_run(**arguments)


@pytest.mark.parametrize(
    "metrics",
    [None, 7, "loss", [1], object(), {"a": object()}, {1: 2.0}, {None: 1.0}, {"": 1.0}, {"x" * 300: 1.0}, {"a\0": 1}],
    ids=lambda value: repr(value).partition(" at 0x")[0][:30],
)
@pytest.mark.parametrize("finished", [False, True])
def test_log_never_raises_and_counts_what_it_refuses(
    start: Callable[..., runstream.Run], metrics: Any, finished: Any
) -> None:
    run: Any = start("e")
    if finished:
        run.finish()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.log(metrics)
        run.log(metrics, step="x")
        run.log(metrics, step=object(), time_unix_us="never")
    assert run.flush(5) != finished
    assert sum(run.stats().refused.values()) == run.stats().logged == 3


def test_an_empty_dict_is_nothing(start: Callable[..., runstream.Run]) -> None:
    run = start("e")
    run.log({})
    assert run.stats().logged == 0


def test_a_refused_value_is_warned_about_once_with_its_key(
    start: Callable[..., runstream.Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = start("e")
    for _ in range(5):
        run.log({"good": 1.0, "shape": np.zeros(3), "text": "x"})
    run.flush(20)
    run.finish()
    assert caplog.text.count("'shape'") == 1
    assert caplog.text.count("'text'") == 1
    assert "of shape (3,)" in caplog.text
    assert dict(run.stats().refused) == {"bad_value": 10}


def test_a_log_handler_that_fails_or_logs_metrics_itself_does_no_harm(start: Callable[..., runstream.Run]) -> None:
    run = start("e")

    class Handler(logging.Handler):
        def emit(self, record: Any) -> None:
            run.log({"from_handler": 1.0})
            raise RuntimeError("broken handler")

    logger, handler = logging.getLogger("runstream"), Handler()
    logger.addHandler(handler)
    try:
        run.log({"bad": "x"})
        run.flush(20)
        run.log({"good": 1.0})
    finally:
        logger.removeHandler(handler)
    assert run.stats().refused["bad_value"] == 1


def test_an_accelerator_value_is_read_by_another_thread(agent: TestAgent, start: Callable[..., runstream.Run]) -> None:
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
    """Opened at the end, so that no thread is left."""
    gate = Gate()
    yield gate
    gate.open.set()


def test_a_device_value_that_never_becomes_ready_holds_up_nothing_else(
    agent: TestAgent, start: Callable[..., runstream.Run], gate: Any
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
    agent: TestAgent, start: Callable[..., runstream.Run], gate: Any, monkeypatch: pytest.MonkeyPatch
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
    agent: TestAgent, start: Callable[..., runstream.Run], gate: Any, caplog: pytest.LogCaptureFixture
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
    start: Callable[..., runstream.Run],
    gate: Any,
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


def test_a_step_on_a_device_is_read_later_and_steps_count_on_from_it(
    agent: TestAgent, start: Callable[..., runstream.Run]
) -> None:
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


class Broken:
    """Raises wherever it is touched."""

    def __init__(self, where: str, device: str = "cuda:0") -> None:
        self.where, self.device = where, device

    def _touch(self, where: str) -> None:
        if where == self.where:
            raise OutOfMemory("out of memory")

    @property
    def shape(self) -> tuple[int, ...]:
        self._touch("shape")
        return ()

    def detach(self) -> Broken:
        self._touch("detach")
        return self

    def clone(self) -> Broken:
        self._touch("clone")
        return self

    def __float__(self) -> float:
        self._touch("float")
        return 1.0

    def __repr__(self) -> str:
        raise AssertionError("the value was read to be shown")


class OutOfMemory(RuntimeError):
    def __repr__(self) -> str:
        raise RuntimeError("an exception without words")

    __str__ = __repr__


@pytest.mark.parametrize("where", ["shape", "detach", "clone", "float"])
def test_a_value_that_raises_costs_itself_alone(
    agent: TestAgent, start: Callable[..., runstream.Run], caplog: pytest.LogCaptureFixture, where: Any
) -> None:
    run = start("e")
    for step in range(3):
        run.log({"loss": 1.0, "gpu": Broken(where), "lr": np.float32(0.5)}, step=step)
    assert run.flush(120)
    assert dict(run.stats().refused) == {"bad_value": 3}
    assert run.stats().acknowledged == 6
    assert "'gpu' could not be read" in caplog.text
    assert "OutOfMemory: out of memory" in caplog.text


def test_nothing_gets_out_of_log(start: Callable[..., runstream.Run], caplog: pytest.LogCaptureFixture) -> None:
    class Row(dict[str, float]):
        def keys(self) -> Any:
            raise OutOfMemory

        __iter__ = __len__ = keys

    class Key(str):
        hashed = False

        def __hash__(self) -> int:
            if self.hashed:
                raise OutOfMemory
            self.hashed = True
            return 1

        __str__ = __repr__ = Broken.__repr__

        def __eq__(self, other: object) -> bool:
            raise OutOfMemory

    run: Any = start("e")
    run.log(Row())
    run.log({"loss": 1.0}, step=Broken("float", "cpu"))
    run.log({"loss": 1.0}, time_unix_us=Broken("shape"))
    run.log({Broken("float"): 1.0, Key("key"): 2.0})
    run.log({Broken("float"): 1.0, Key("key"): 2.0, "array": np.array(3.0), "nested": {10**5_000: 1.0}})
    assert run.flush(120)
    assert dict(run.stats().refused) == {"log_failed": 1, "bad_step": 1, "bad_time": 1, "key_not_a_string": 3}
    assert run.stats().acknowledged == 3
    assert "'<Broken>' is a key of type Broken" in caplog.text


def test_a_param_or_tag_that_raises_costs_itself_alone(
    agent: TestAgent, start: Callable[..., runstream.Run], caplog: pytest.LogCaptureFixture
) -> None:
    class Silent:
        def __str__(self) -> str:
            raise OutOfMemory("no words")

    class Key(str):
        __str__ = __repr__ = Silent.__str__

        def __hash__(self) -> int:
            raise OutOfMemory("no hash")

    run: Any = start("e")
    run.log_params({"silent": Silent(), Broken("float"): 1, "depth": 2})
    run.set_tags(ItemsOf([(Key("key"), "value"), ("silent", Silent())]))
    assert run.flush(120)
    assert dict(agent.runs[run.run_id].params) == {"depth": "2"}
    assert dict(agent.runs[run.run_id].tags) == {"key": "value"}
    assert "param 'silent': its value cannot become a string: OutOfMemory: no words" in caplog.text
    assert "'<Broken>': its key must be a string, not Broken" in caplog.text


class ItemsOf(Mapping[Any, Any]):
    """A mapping of keys that cannot be hashed."""

    def __init__(self, items: list[tuple[Any, Any]]) -> None:
        self._items = items

    def items(self) -> Any:
        return self._items

    def __getitem__(self, key: Any) -> Any:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)


def test_a_step_on_a_device_is_not_shown_on_the_thread_that_logs(start: Callable[..., runstream.Run]) -> None:
    class Shown(Tensor):
        def __repr__(self) -> str:
            raise AssertionError("the step was read to be shown")

    run: Any = start("e")
    for _ in range(3):
        run.log({"loss": 1.0}, step=Shown(1.5, "cuda", threading.get_ident()))
    assert run.flush(120)
    assert dict(run.stats().refused) == {"bad_step": 3}


def test_a_param_that_changes_before_it_is_written_is_refused_and_the_others_are_written(
    agent: TestAgent, start: Callable[..., runstream.Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = start("e", settings={"quick_interval_s": 60.0}, params={"a": 1, "b": 2})
    run.log_params({"a": 5, "c": 3, "b": 2})
    run.set_tags({"after": "yes"})
    assert run.flush(120)
    stored = agent.runs[run.run_id]
    assert stored.params == {"a": "1", "b": "2", "c": "3"}
    assert stored.tags == {"after": "yes"}
    assert caplog.text.count("param 'a' refused: it has another value already") == 1


def test_bad_params_and_tags_warn_and_do_not_raise(
    agent: TestAgent, start: Callable[..., runstream.Run], caplog: pytest.LogCaptureFixture
) -> None:
    class Silent:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    run: Any = start("e")
    run.log_params({7: 1, "x" * 251: 1, "silent": Silent(), "good": 1})
    run.log_params([1])
    run.set_tags({"t": "v" * 9_000})
    assert run.flush(120)
    assert dict(agent.runs[run.run_id].params) == {"good": "1"}
    assert caplog.text.count("refused") == 5


def test_the_newest_value_of_a_tag_wins_and_only_one_of_an_interval_is_written(
    agent: TestAgent, start: Callable[..., runstream.Run]
) -> None:
    run = start("e", settings={"quick_interval_s": 60.0})
    for value in range(2_000):
        run.set_tags({"n": value, f"once{value % 20}": value})
    assert run.flush(120)
    assert agent.runs[run.run_id].tags["n"] == "1999"
    assert len(agent.runs[run.run_id].tags) == 21
    assert sum("n" in payload for _, kind, payload in agent.records if kind is RecordType.TAGS) < 10


def test_start_run_and_log_do_not_wait_for_a_service_that_is_away(
    agent: TestAgent, start: Callable[..., runstream.Run]
) -> None:
    agent.held = True
    begun = time.monotonic()
    run = start("e", params={"a": 1})
    run.log({"loss": 1.0})
    assert time.monotonic() - begun < 10.0  # the service is away forever
    assert not run.flush(0.05)
    agent.held = False
    assert run.flush(120)


def test_finish_without_a_service_keeps_its_deadline_and_says_where_everything_is(
    agent: TestAgent, start: Callable[..., runstream.Run], caplog: pytest.LogCaptureFixture
) -> None:
    agent.held = True
    run = start("e")
    for _ in range(100):
        run.log({"loss": 1.0})
    begun = time.monotonic()
    assert not run.finish(timeout=0.3)
    assert time.monotonic() - begun < 10.0
    assert (run.stats().on_disk, run.stats().waiting, dict(run.stats().refused)) == (100, 0, {})
    assert f"100 points, and 1 params, tags and ends of the run, are on disk in {agent.directory.path}" in caplog.text
    assert f"`runstream sync {agent.directory.path}`" in caplog.text
    assert not run.finish()
    agent.held = False
    agent.wait_for(lambda: agent.status(run.run_id) == "FINISHED")
    assert len(agent.points) == 100


def test_after_finish_points_are_refused_and_no_thread_is_left(
    agent: TestAgent, start: Callable[..., runstream.Run]
) -> None:
    before = {thread.name for thread in threading.enumerate()}
    run = start("e")
    run.log({"loss": 1.0})
    assert run.finish()
    run.log({"loss": 2.0})
    assert dict(run.stats().refused) == {"finished": 1}
    until_now(lambda: not our_threads() - before)


def our_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("runstream-")}


def test_any_number_of_runs_has_one_thread(agent: TestAgent, start: Callable[..., runstream.Run]) -> None:
    before = {thread for thread in threading.enumerate() if thread.name != "runstream-recorder"}
    runs = [start("e") for _ in range(50)]
    for run in runs:
        run.log({"loss": 1.0})
    until_now(lambda: [thread.name for thread in set(threading.enumerate()) - before] == ["runstream-recorder"])
    for run in runs:
        assert run.finish()
    assert len(agent.points) == 50
    assert {run.status for run in agent.runs.values()} == {"FINISHED"}


def test_stats_add_up_while_everything_moves(agent: TestAgent, start: Callable[..., runstream.Run]) -> None:
    run = start("e")
    for step in range(3_000):
        run.log({"loss": 1.0, "bad": None}, step=step)
        if step % 100 == 0:
            stats = run.stats()
            assert stats.logged == 2 * (step + 1)
            settled = stats.acknowledged + sum(stats.refused.values())
            assert stats.logged == stats.waiting + stats.on_disk + settled
    assert run.flush(120)
    assert (run.stats().acknowledged, run.stats().waiting) == (3_000, 0)


def test_settings_come_from_the_environment_and_bad_ones_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from runstream._settings import from_environment

    settings = from_environment(None, {"RUNSTREAM_ADDRESS": "unix:/tmp/x", "RUNSTREAM_BUFFER_POINTS": "5"})
    assert (settings.address, settings.max_points) == ("unix:/tmp/x", 5)
    assert from_environment("dns:///host:1", {"RUNSTREAM_ADDRESS": "other:2"}).address == "dns:///host:1"
    assert from_environment(None, {}).address == "127.0.0.1:50051"
    assert from_environment(None, {"RUNSTREAM_BUFFER_BYTES": "lots"}).max_bytes == 64 * 1024 * 1024
    assert "RUNSTREAM_BUFFER_BYTES" in caplog.text


@pytest.mark.parametrize("timeout", [math.inf, None, 20, "soon", math.nan], ids=str)
def test_flush_and_finish_take_any_timeout(agent: TestAgent, start: Callable[..., runstream.Run], timeout: Any) -> None:
    run = start("e")
    run.log({"loss": 1.0})
    assert run.flush(timeout)
    assert run.finish(timeout=timeout)
    assert agent.status(run.run_id) == "FINISHED"


def test_a_negative_timeout_has_passed(agent: TestAgent, start: Callable[..., runstream.Run]) -> None:
    agent.held = True
    run = start("e")
    run.log({"loss": 1.0})
    assert not run.flush(-1)
    agent.held = False
    assert run.flush(120)


def test_the_document_of_deadlines_says_what_client_and_agent_do() -> None:
    document = Path(__file__).parents[3] / "docs" / "deadlines.md"
    rows = re.findall(r"^\|[^|]+\| ([0-9.]+) s \|[^|]+\| `(\w+_s)` \|$", document.read_text(), re.MULTILINE)
    assert len(rows) == 5
    defaults = {**Settings()._asdict(), **vars(Limits())}
    assert {name: float(seconds) for seconds, name in rows} == {name: defaults[name] for _, name in rows}
