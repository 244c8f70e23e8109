"""Positions of pages, sums of points, and queues that have a bound."""

from __future__ import annotations

import json
import math
import uuid

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.query.reading.series import Series
from runstream_service.query.tail.commit_reader import SeriesPoints
from runstream_service.web.live import position
from runstream_service.web.live.subscription import MAX_EVENTS, RESET, Event, Subscription
from runstream_service.web.live.summary import MAX_SERIES, encode_points

RUN_IDS = st.uuids().map(lambda one: one.hex)
CURSORS = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(
    lambda two: f"2;{'0' * 16};5;;{two[0]}:9:{two[1]}".encode()
)


@given(st.dictionaries(RUN_IDS, CURSORS, max_size=10))
def test_a_page_gets_back_the_position_that_it_sends(cursors: dict[str, bytes]) -> None:
    text = position.encode(cursors)
    assert text
    assert "\n" not in text
    assert position.decode(text, cursors) == cursors


@given(st.text(), st.lists(RUN_IDS, max_size=3))
def test_no_text_is_worse_than_unknown(text: str, run_ids: list[str]) -> None:
    assert position.decode(text, run_ids).keys() <= set(run_ids)


def test_a_position_that_is_too_long_says_nothing() -> None:
    run_id = uuid.uuid4().hex
    assert position.decode(position.encode({run_id: b"2" * 100_000}), [run_id]) == {}


POINTS = st.tuples(st.integers(0, 20), st.integers(0, 10**9), st.floats())
SERIES = st.builds(Series, st.just("r"), st.sampled_from("abc"), st.integers(-1, 2), st.integers(0, 1))


@given(st.lists(st.tuples(SERIES, st.lists(POINTS, min_size=1, max_size=10)), min_size=1, max_size=8))
def test_an_event_sums_up_all_points_of_each_series(entries: list[tuple[Series, list[tuple[int, int, float]]]]) -> None:
    made = [
        (
            series,
            SeriesPoints(
                1,
                np.array([point[0] for point in points], np.int64),
                np.array([point[1] for point in points], np.int64),
                np.array([point[2] for point in points], np.float64),
            ),
        )
        for series, points in entries
    ]
    found = json.loads(encode_points("r", made))
    expected: dict[Series, list[tuple[int, int, float]]] = {}
    for series, points in entries:
        expected.setdefault(series, []).extend(points)
    assert len(found["series"]) == len(expected)
    for one in found["series"]:
        points = expected[Series("r", one["key"], one["rank"], one["attempt"])]
        finite = [value for _, _, value in points if math.isfinite(value)]
        assert (one["count"], one["non_finite"]) == (len(points), len(points) - len(finite))
        steps, times = [point[0] for point in points], [point[1] for point in points]
        assert (one["first_step"], one["last_step"]) == (min(steps), max(steps))
        assert (one["first_time_us"], one["last_time_us"]) == (min(times), max(times))
        values = {str(number) for _, _, number in points}
        for name in ("first", "last"):
            assert str(float(one[name])) in values
        if finite:
            assert (one["min"], one["max"]) == (min(finite), max(finite))
            assert one["min"] <= one["mean"] <= one["max"]
        else:
            assert one["mean"] == "NaN"


def test_of_too_many_series_those_of_the_lowest_ranks_are_sent_and_the_others_counted() -> None:
    point = SeriesPoints(1, np.array([0]), np.array([0]), np.array([1.0]))
    entries = [(Series("r", "loss", rank, 0), point) for rank in reversed(range(MAX_SERIES + 5))]
    found = json.loads(encode_points("r", entries))
    assert [one["rank"] for one in found["series"]] == list(range(MAX_SERIES))
    assert found["left_out"] == 5


async def test_a_page_that_takes_nothing_begins_again_where_the_newest_event_is() -> None:
    page = Subscription(["r"])
    for number in range(3 * MAX_EVENTS):
        page.put(Event(b"data: 1\n", "r", b"%d" % number))
    sent = await page.next(1)
    assert sent.startswith(RESET.data)
    assert sent.count(b"data: ") <= MAX_EVENTS
    assert sent.endswith(b"id: %d@r\n\n" % (3 * MAX_EVENTS - 1))
    assert page.resets > 1
    assert await page.next(0.01) == b""
