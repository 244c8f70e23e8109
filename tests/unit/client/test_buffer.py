"""The buffer between log() and the recorder: bounds, steps, counts, and threads that interrupt each other."""

import itertools
import math
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from runstream._buffer import Buffer, Marker, row_bytes
from runstream._run_logger import RunLogger


def make(
    max_points: int = 1_000_000, max_bytes: int = 64_000_000, logger: RunLogger | None = None
) -> tuple[Buffer, list[str]]:
    """A buffer, and the wake-ups of the recorder."""
    woken: list[str] = []
    logger = logger or make_logger()
    return Buffer(max_points, max_bytes, logger, lambda _: woken.append("first"), lambda: woken.append("many")), woken


def make_logger() -> RunLogger:
    """A logger of warnings; `flush` logs those that wait."""
    return RunLogger("0" * 32, "test:1", 1_000_000)


def rows(buffer: Any) -> list[tuple[dict[str, Any], int]]:
    return [(metrics, step) for metrics, step, _ in buffer.take()[0]]


def test_steps_count_on_from_the_largest_logged() -> None:
    buffer, _ = make()
    for step in (None, None, 10, 3, None, np.int64(20), None):
        buffer.put({"a": 1.0}, step, None)
    assert [step for _, step in rows(buffer)] == [0, 1, 10, 3, 11, 20, 21]


def test_a_step_that_is_no_64_bit_integer_is_refused_and_does_not_move_the_count() -> None:
    buffer, _ = make()
    for step in (1.5, "1", [1], 2**63, -(2**63) - 1, np.float32("nan")):
        buffer.put({"a": 1.0, "b": 2.0}, step, None)
    assert buffer.refused == {"bad_step": 12}
    buffer.put({"a": 1.0}, None, None)
    assert [step for _, step in rows(buffer)] == [0]


def test_whole_numbers_of_other_types_are_steps() -> None:
    buffer, _ = make()
    for step in (50.0, np.float64(3), np.array([4]), True, Decimal(60), None):
        buffer.put({"a": 1.0}, step, None)
    assert [step for _, step in rows(buffer)] == [50, 3, 4, 1, 60, 61]


def test_after_the_largest_possible_step_counting_continues_from_the_step_before() -> None:
    buffer, _ = make()
    for step in (7, 2**63 - 1, None, 2**63 - 2, None, None):
        buffer.put({"a": 1.0}, step, None)
    assert [step for _, step in rows(buffer)] == [7, 2**63 - 1, 8, 2**63 - 2, 2**63 - 1, 2**63 - 1]
    assert not buffer.refused


@pytest.mark.parametrize("time_unix_us", ["now", math.nan, -62_135_596_800_000_001, 253_402_300_800_000_000])
def test_a_time_outside_of_years_1_to_9999_is_refused(time_unix_us: object) -> None:
    buffer, _ = make()
    buffer.put({"a": 1.0}, 0, time_unix_us)
    assert buffer.refused == {"bad_time": 1}


@pytest.mark.parametrize(
    ("time_unix_us", "unit"),
    [(1_764_300_000, "seconds"), (1_764_300_000_000, "milliseconds"), (1_764_300_000.5, "seconds")],
)
def test_a_time_in_another_unit_is_stored_as_it_is_and_warned_about_once(
    time_unix_us: float, unit: str, caplog: pytest.LogCaptureFixture
) -> None:
    logger = make_logger()
    buffer, _ = make(logger=logger)
    for _ in range(3):
        buffer.put({"a": 1.0}, 0, time_unix_us)
        assert not caplog.text  # a log handler may be slow: not on the thread that logs
    for _ in range(2):
        logger.flush(buffer.refused)
    taken: list[Any] = buffer.take()[0]
    assert [time_us for _, _, time_us in taken] == [int(time_unix_us)] * 3
    assert caplog.text.count("microseconds since 1970 are expected") == 1
    assert f"looks like {unit}" in caplog.text


@pytest.mark.parametrize("time_unix_us", [0, 42, -1, 1_764_300_000_000_000, np.int64(1_764_300_000_000_000)])
def test_other_times_are_not_warned_about(time_unix_us: object, caplog: pytest.LogCaptureFixture) -> None:
    logger = make_logger()
    buffer, _ = make(logger=logger)
    buffer.put({"a": 1.0}, 0, time_unix_us)
    logger.flush(buffer.refused)
    assert not caplog.text


def test_the_caller_may_change_its_dict_afterwards() -> None:
    buffer, _ = make()
    metrics = OrderedDict(a=1.0)
    buffer.put(metrics, 0, None)
    metrics["a"] = 2.0
    assert rows(buffer) == [({"a": 1.0}, 0)]


def test_a_bad_value_is_refused_alone() -> None:
    buffer, _ = make()
    buffer.put({"a": 1.0, "b": "x", "c": None, "d": 2}, 0, None)
    assert rows(buffer) == [({"a": 1.0, "d": 2}, 0)]
    assert buffer.refused == {"bad_value": 2}


def test_nested_dicts_are_flattened_with_slashes() -> None:
    buffer, _ = make()
    metrics = {"lr": 0.1, "train": {"loss": 1.0, "class": {0: 2.0, 1: np.array(3.0)}}, "none": {}}
    buffer.put(metrics, 0, None)
    assert rows(buffer) == [({"lr": 0.1, "train/loss": 1.0, "train/class/0": 2.0, "train/class/1": 3.0}, 0)]
    assert not buffer.refused


def test_each_bad_value_of_a_nested_dict_is_refused_alone(caplog: pytest.LogCaptureFixture) -> None:
    logger = make_logger()
    buffer, _ = make(logger=logger)
    deep: dict[str, Any] = {}
    deep["deep"] = deep
    metrics = {"a": {"list": [1.0, 2.0], "none": None, 1.5: 1.0, "good": 1.0}, **deep, "b/c": 1.0, "b": {"c": 2.0}}
    buffer.put(metrics, 0, None)
    logger.flush(buffer.refused)
    assert rows(buffer) == [({"a/good": 1.0, "b/c": 1.0}, 0)]
    assert buffer.refused == {"bad_value": 4, "key_not_a_string": 1}
    for words in ("'a/list' is list", "'a/none' is None", "'b/c' was passed twice", "inside of more than 8 others"):
        assert words in caplog.text


def test_a_row_needs_keys_and_anything_else_is_refused() -> None:
    class Row:
        def keys(self) -> Any:
            return ["a"]

        def __getitem__(self, key: str) -> float:
            return 1.5

    buffer, _ = make()
    row: Any = Row()
    buffer.put(row, 0, None)
    for wrong in (["a1"], [("a", 1.0)], "ab", 5, None):
        no_mapping: Any = wrong
        buffer.put(no_mapping, 0, None)
    assert rows(buffer) == [({"a": 1.5}, 0)]
    assert buffer.refused == {"not_a_mapping": 5}


def test_a_full_buffer_refuses_by_points_and_takes_again_when_points_leave() -> None:
    buffer, _ = make(max_points=5)
    for _ in range(4):
        buffer.put({"a": 1.0, "b": 1.0}, None, None)
    assert buffer.counters().waiting == 4
    assert buffer.refused == {"buffer_full": 4}
    buffer.count_written(2, row_bytes(2))
    buffer.put({"a": 1.0, "b": 1.0}, None, None)
    assert buffer.counters() == (4, 2 * row_bytes(2), 2, 0, {"buffer_full": 4})


def test_the_account_follows_points_from_the_journal_to_the_service() -> None:
    buffer, _ = make()
    for _ in range(10):
        buffer.put({"a": 1.0}, None, None)
    buffer.count_written(8, 0)
    buffer.set_settled(3, {"bad_value": 1, "key_too_long": 1})
    buffer.refuse(1, "bad_value")
    buffer.count_lost(2, "journal_deleted")
    counters = buffer.counters()
    assert (counters.waiting, counters.unsettled, counters.acknowledged) == (2, 1, 3)
    assert counters.refused == {"bad_value": 2, "key_too_long": 1, "journal_deleted": 2}
    assert counters.logged == 11


def test_a_full_buffer_refuses_by_bytes() -> None:
    buffer, _ = make(max_bytes=10 * row_bytes(1))
    for _ in range(12):
        buffer.put({"a": 1.0}, None, None)
    assert buffer.refused == {"buffer_full": 2}


def test_a_closed_buffer_counts_the_first_reason() -> None:
    buffer, _ = make()
    buffer.close("recorder_died")
    buffer.close("finished")
    buffer.put({"a": 1.0}, 0, None)
    assert buffer.refused == {"recorder_died": 1}


def test_a_reason_that_passes_gives_way_to_one_that_stays() -> None:
    buffer, _ = make()
    buffer.close("journal_full")
    buffer.put({"a": 1.0}, 0, None)
    buffer.reopen("journal_full")
    buffer.put({"a": 1.0}, 0, None)
    buffer.close("journal_full")
    buffer.close("finished")
    buffer.reopen("journal_full")
    buffer.put({"a": 1.0}, 0, None)
    assert buffer.refused == {"journal_full": 1, "finished": 1}
    assert buffer.counters().waiting == 1


def test_the_recorder_is_called_by_the_first_row_and_woken_by_many() -> None:
    buffer, woken = make()
    for _ in range(499):
        buffer.put({"a": 1.0}, None, None)
    assert woken == ["first"]
    buffer.put({"a": 1.0}, None, None)
    assert woken == ["first", "many"]


def test_a_wide_row_and_a_marker_wake_the_recorder() -> None:
    buffer, woken = make()
    buffer.put({"a": 1.0}, None, None)
    buffer.put({str(n): 1.0 for n in range(500)}, None, None)
    buffer.put_marker(Marker())
    assert woken == ["first", "many", "many"]


def test_rows_come_with_the_time_of_the_first_of_them() -> None:
    buffer, _ = make()
    puts: list[Callable[[], None]] = [lambda: buffer.put({"a": 1.0}, None, 5), lambda: buffer.put_marker(Marker())]
    for put in puts:
        before = time.monotonic()
        put()
        after = time.monotonic()
        buffer.put({"a": 2.0}, None, 5)
        taken, since_s = buffer.take()
        assert len(taken) == 2
        assert before <= since_s <= after


def test_nothing_is_lost_or_counted_twice_between_threads() -> None:
    buffer, _ = make(max_points=30_000)
    stop = threading.Event()
    taken: list[Any] = []

    def drain() -> None:
        while not stop.is_set():
            for row in buffer.take()[0]:
                taken.append(row)
                buffer.count_written(1, row_bytes(1))

    drainer = threading.Thread(target=drain)

    def write() -> None:
        for _ in range(3_000):
            buffer.put({"a": 1.0}, None, None)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for thread in [drainer, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    drainer.join()
    rest: list[Any] = buffer.take()[0]
    assert sorted(step for _, step, _ in taken + rest) == list(range(12_000))
    counters = buffer.counters()
    assert (counters.unsettled, counters.waiting) == (len(taken), len(rest))


def test_a_signal_handler_may_log_while_log_holds_the_lock() -> None:
    buffer, _ = make()
    old = signal.signal(signal.SIGUSR1, lambda *_: buffer.put({"signal": 1.0}, 0, None))
    try:
        with buffer._lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert rows(buffer) == [({"signal": 1.0}, 0)]


def test_a_signal_handler_that_logs_at_any_call_inside_log_loses_no_point() -> None:
    # CPython runs signal handlers where functions are called and return; the profiler is called at the same places.
    for max_points in (1_000, 3):
        for nth in range(60):
            buffer, first = make(max_points=max_points)
            if max_points == 3:
                buffer.put({"a": 1.0, "b": 1.0}, None, None)  # the next row is the first one that is refused
            log_in_the_nth_call_of(nth, buffer)
            counters = buffer.counters()
            assert counters.waiting + sum(counters.refused.values()) == 4 + 2 * (max_points == 3), nth
            assert counters.waiting <= max_points
            assert buffer.take()[1] > 0
            assert first


def log_in_the_nth_call_of(nth: int, buffer: Buffer) -> None:
    """Logs two points, and two more from the nth call inside of that log()."""
    calls = itertools.count()

    def interrupt(*_: object) -> None:
        if next(calls) == nth:
            sys.setprofile(None)
            buffer.put({"c": 1.0, "d": 1.0}, None, None)

    sys.setprofile(interrupt)
    try:
        buffer.put({"a": 1.0, "b": 1.0}, None, None)
    finally:
        sys.setprofile(None)
    if next(calls) <= nth:
        buffer.put({"c": 1.0, "d": 1.0}, None, None)  # log() has fewer calls
