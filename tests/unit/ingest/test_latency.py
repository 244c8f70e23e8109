"""The time from log() to commit, measured with unrelated clocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from runstream_service.ingest.latency import ClientClockOffset, LogToCommitHistogram, logged_at


def test_a_client_without_a_clock_is_taken_to_be_near() -> None:
    assert ClientClockOffset().on_the_way_us(None, 100.0) == 0


def test_an_age_alone_counts_from_the_receipt() -> None:
    assert logged_at(100.0, 2_000_000, 0) == pytest.approx(98.0)
    assert logged_at(200.0, 0, 0) == pytest.approx(200.0)


@given(st.integers(0, 2**62), st.lists(st.tuples(st.floats(0, 60), st.floats(0, 60)), min_size=1, max_size=20))
def test_time_on_the_way_is_distinguished_from_the_difference_of_the_clocks(
    origin_us: int, batches: list[tuple[float, float]]
) -> None:
    """Each batch: how long it waited before its sending and on its way; the first one went through at once."""
    clock = ClientClockOffset()
    now_s = 1_000.0
    for age_s, on_the_way_s in [(0.0, 0.0), *batches]:
        now_s += 10
        sent_us = origin_us + round(now_s * 1e6)
        received = now_s + on_the_way_s
        logged = logged_at(received, round(age_s * 1e6), clock.on_the_way_us(sent_us, received))
        assert received - logged == pytest.approx(age_s + on_the_way_s, abs=1e-3)


def test_a_fast_batch_after_a_slow_one_is_not_younger_than_its_age() -> None:
    clock = ClientClockOffset()
    clock.on_the_way_us(50_000_000, 1_009.0)
    assert logged_at(1_010.0, 500_000, clock.on_the_way_us(60_000_000, 1_010.0)) == pytest.approx(1_009.5)


@pytest.mark.parametrize(("age_us", "sent_us"), [(2**64 - 1, None), (2**64 - 1, 0), (0, 0)])
def test_a_wrong_clock_counts_as_thirty_days_at_most(age_us: int, sent_us: int | None) -> None:
    clock = ClientClockOffset()
    clock.on_the_way_us(2**64 - 1, 100.0)
    assert logged_at(100.0, age_us, clock.on_the_way_us(sent_us, 100.0)) == 100.0 - 30 * 86_400


def test_the_histogram_counts_from_ten_milliseconds_to_an_hour() -> None:
    registry = CollectorRegistry()
    delays = LogToCommitHistogram()
    registry.register(delays)
    for seconds in (0.002, 0.6, 0.6, 4_000.0):
        delays.observe(seconds)
    name = "runstream_log_to_commit_seconds"
    at_most = {
        bound: registry.get_sample_value(f"{name}_bucket", {"le": bound}) for bound in ("0.01", "0.75", "3600.0")
    }
    assert at_most == {"0.01": 1, "0.75": 3, "3600.0": 3}
    assert registry.get_sample_value(f"{name}_bucket", {"le": "+Inf"}) == 4
    assert registry.get_sample_value(f"{name}_count") == 4
    assert registry.get_sample_value(f"{name}_sum") == pytest.approx(4_001.202)
