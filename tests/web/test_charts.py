"""Charts as arrays: the values of QueryService.Chart, and what happens if there are too many."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import pytest

from tests.web.support import Web

STEPS = [(step, float(step * step)) for step in range(10)]


@pytest.fixture(scope="module")
def run_id(web: Web) -> str:
    """A run of two ranks; the first has a NaN and an infinity."""
    found = web.log({"loss": [*STEPS, (10, math.nan), (11, math.inf)], "acc": [(0, 0.5)]}, rank=0)
    return web.log({"loss": STEPS}, found, rank=1)


def test_a_chart_of_few_points_has_each_of_them_as_a_bucket(web: Web, run_id: str) -> None:
    answer = web.arrays("charts", run_ids=[run_id], keys=["loss"])
    assert answer.names == [(run_id, "loss", 0, 0), (run_id, "loss", 1, 0)]
    first, second = answer.curves
    assert first["first_position"].tolist() == first["last_position"].tolist() == [float(step) for step in range(12)]
    assert first["mean"][:10].tolist() == second["max"].tolist() == [value for _, value in STEPS]
    assert first["non_finite_count"].tolist() == [0.0] * 10 + [1.0, 1.0]
    assert math.isnan(first["min"][10])
    assert answer.head["cut"] is None


def test_without_keys_all_are_charted_by_key_and_bounds_may_lie_between_steps(web: Web, run_id: str) -> None:
    answer = web.arrays("charts", run_ids=[run_id], rank=0, min=1.5, max=4.5)
    assert [name[1] for name in answer.names] == ["loss"]
    assert answer.curves[0]["first_position"].tolist() == [2.0, 3.0, 4.0]
    assert [name[1] for name in web.arrays("charts", run_ids=[run_id], rank=0).names] == ["acc", "loss"]


def test_a_chart_over_time_has_microseconds_as_positions(web: Web, run_id: str) -> None:
    answer = web.arrays("charts", run_ids=[run_id], keys=["acc"], axis="time")
    assert 1.7e15 < answer.curves[0]["first_position"][0] < 4e15


def test_an_aggregate_is_one_curve_over_all_ranks(web: Web, run_id: str) -> None:
    answer = web.arrays("aggregate", run_id=run_id, key="loss", max=9)
    assert answer.names == [(run_id, "loss", None, None)]
    (curve,) = answer.curves
    assert curve["rank_count"].tolist() == [2.0] * 10
    assert curve["non_finite_count"].tolist() == [0.0] * 10
    assert curve["mean"].tolist() == [value for _, value in STEPS]


def test_of_too_many_series_the_first_keys_are_charted_and_the_rest_is_counted(web: Web) -> None:
    many = web.log({f"k{number:04}": [(0, 1.0)] for number in range(1_030)})
    one = web.log({"k0000": [(0, 1.0)]})
    answer = web.arrays("charts", run_ids=[many, one])
    assert len(answer.curves) == 1_000
    assert [name[:2] for name in answer.names[:3]] == [(many, "k0000"), (one, "k0000"), (many, "k0001")]
    assert answer.head["cut"]["series"] == 31
    assert "31 of 1,031 series are not shown" in answer.head["cut"]["message"]
    fewer = web.arrays("charts", run_ids=[many, one], max_buckets=10_000)
    assert (len(fewer.curves), fewer.head["cut"]["series"]) == (60, 971)


def test_a_large_answer_is_compressed_for_those_who_are_not_on_this_machine(web: Web) -> None:
    found = web.log({"loss": [(step, math.sin(step)) for step in range(2_000)]})
    request = {"run_ids": [found], "max_buckets": 2_000}
    headers = {"content-type": "application/json", "accept-encoding": "gzip, br"}
    near = web.rest.request("POST", "charts", json.dumps(request).encode(), headers)
    far = web.rest.request("POST", "charts", json.dumps(request).encode(), {**headers, "x-forwarded-for": "192.0.2.1"})
    assert (near.headers.get("content-encoding"), far.headers.get("content-encoding")) == (None, "gzip")
    assert gzip.decompress(far.content) == near.content


@pytest.mark.parametrize(
    ("path", "wrong", "field"),
    [
        ("charts", {"run_ids": []}, "run_ids"),
        ("charts", {"run_ids": ["x"]}, "run_ids"),
        ("charts", {}, "run_ids"),
        ("charts", {"run_ids": ["0" * 32] * 101}, "run_ids"),
        ("charts", {"run_ids": 5}, "run_ids"),
        ("charts", {"run_ids": ["0" * 32], "keys": [1]}, "keys"),
        ("charts", {"run_ids": ["0" * 32], "keys": ["a\0"]}, "keys"),
        ("charts", {"run_ids": ["0" * 32], "axis": "loss"}, "axis"),
        ("charts", {"run_ids": ["0" * 32], "min": 2, "max": 1}, "min"),
        ("charts", {"run_ids": ["0" * 32], "min": "2"}, "min"),
        ("charts", {"run_ids": ["0" * 32], "max_buckets": 0}, "max_buckets"),
        ("charts", {"run_ids": ["0" * 32], "max_buckets": 10_001}, "max_buckets"),
        ("charts", {"run_ids": ["0" * 32], "rank": 2**31}, "rank"),
        ("charts", {"run_ids": ["0" * 32], "colour": "red"}, "colour"),
        ("aggregate", {"run_id": "x", "key": "loss"}, "run_id"),
        ("aggregate", {"run_id": "0" * 32}, "key"),
        ("charts", b"{", "body"),
        ("charts", b"[1]", "body"),
        ("charts", b'{"run_ids": ["\xff"]}', "body"),
        ("charts", b"x" * (2 << 20), "body"),
    ],
)
def test_a_wrong_field_is_named(web: Web, path: str, wrong: Any, field: str) -> None:
    assert web.refusal("POST", path, wrong) == (400, "INVALID_FIELD", field)


def test_a_run_that_is_not_there_and_a_path_that_is_not_there_are_not_found(web: Web) -> None:
    assert web.refusal("POST", "charts", {"run_ids": ["0" * 32]}) == (404, "RUN_NOT_FOUND", "run_ids")
    assert web.refusal("POST", "aggregate", {"run_id": "0" * 32, "key": "a"}) == (404, "RUN_NOT_FOUND", "run_id")
    assert web.refusal("GET", "nothing") == (404, "NOT_FOUND", "path")


def test_buckets_of_a_logarithmic_axis_have_each_of_the_first_steps(web: Web) -> None:
    run_id = web.log({"loss": [(step, float(step)) for step in range(10_000)]})
    (curve,) = web.arrays("charts", run_ids=[run_id], max_buckets=200, log_origin=0).curves
    begins, ends = curve["first_position"], curve["last_position"]
    assert (begins[2], ends[2], len(begins) <= 200) == (3.0, 3.0, True)
    assert ends[-1] - begins[-1] == pytest.approx(10_000 * (1 - 10_000 ** (-1 / 200)), abs=2)
    assert curve["point_count"].sum() == 10_000
    assert (curve["min"] == begins).all()
    assert (curve["max"] == ends).all()
    (band,) = web.arrays("aggregate", run_id=run_id, key="loss", max_buckets=200, log_origin=0).curves
    assert band["first_step"].tolist() == begins.tolist()
