"""Params, tags and the run's end: in pieces that every server takes, and never behind a call that cannot be sent."""

import time

import grpc
import pytest

from runstream.v1 import run_pb2
from tests.unit.client.ledger import MAX_ENTRIES, Refused

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def stored(service, run):
    return service.ledger.runs[run.run_id]


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [
        ("tag", 200, "x" * 8_000),
        ("tag", 200, "漢" * 8_000),
        ("param", 300, "x" * 6_000),
        ("param", 300, "漢" * 6_000),
        ("tag", 5_000, "x"),
    ],
    ids=["tags", "tags-cjk", "params", "params-cjk", "many"],
)
def test_params_and_tags_of_any_size_in_all_arrive_in_calls_that_are_small(service, start, kind, count, value):
    run = start("e")
    entries = {f"k{number}": value for number in range(count)}
    (run.log_params if kind == "param" else run.set_tags)(entries)
    run.set_tags({"later": "yes"})
    assert run.flush(30), run.stats()
    assert run.finish()
    kept = stored(service, run)
    assert dict(kept.params if kind == "param" else {k: v for k, v in kept.tags.items() if k != "later"}) == entries
    assert kept.tags["later"] == "yes"
    assert kept.status == run_pb2.RUN_STATUS_FINISHED
    assert max(request.ByteSize() for _, request in service.runs.calls) <= 300_000
    assert max(len(request.tags) for method, request in service.runs.calls if method == "SetTags") <= MAX_ENTRIES


def test_an_entry_that_is_too_large_for_what_is_in_between_is_refused_by_name_and_all_else_arrives(
    service, start, caplog
):
    service.runs.max_bytes = 6_000
    run = start("e", tags={f"k{number}": "x" * 700 for number in range(100)} | {"huge": "x" * 8_000})
    run.log_params({"lr": 0.1})
    assert run.flush(30), run.stats()
    assert run.finish()
    kept = stored(service, run)
    assert set(kept.tags) == {f"k{number}" for number in range(100)}
    assert kept.params["lr"] == "0.1"
    assert kept.status == run_pb2.RUN_STATUS_FINISHED
    assert "tag 'huge' refused" in caplog.text
    assert caplog.text.count("refused") == 1


@pytest.mark.parametrize("code", ["INTERNAL", "UNKNOWN", "DATA_LOSS"])
def test_a_call_that_meets_a_bug_of_the_service_is_given_up_after_a_few_tries(service, start, caplog, code):
    service.runs.poison, service.runs.poisoned = "bad", Refused(grpc.StatusCode[code], "")
    run = start("e")
    assert run.flush(20)
    run.set_tags({"bad": 1})
    assert run.flush(30), run.stats()
    tries = sum("bad" in request.tags for method, request in service.runs.calls if method == "SetTags")
    assert 3 <= tries <= 10
    run.set_tags({"good": 1})
    run.log_params({"lr": 1})
    assert run.finish()
    kept = stored(service, run)
    assert (set(kept.tags), set(kept.params), kept.status) == ({"good"}, {"lr"}, run_pb2.RUN_STATUS_FINISHED)
    assert "tag 'bad' refused" in caplog.text
    assert "no connection" not in caplog.text


def test_a_hiccup_of_that_kind_is_survived(service, start):
    service.runs.faults = [Refused(grpc.StatusCode.INTERNAL, "")] * 3
    run = start("e", tags={"a": 1})
    assert run.flush(20)
    assert stored(service, run).tags["a"] == "1"


def test_only_failures_of_that_kind_count_for_giving_up(service, start, caplog):
    run = start("e", settings={"backoff_max_s": 0.05})
    assert run.flush(20)
    away = [Refused(UNAVAILABLE, "DATABASE_UNAVAILABLE", retry_s=0.001)] * 20
    service.runs.faults = [*away, Refused(grpc.StatusCode.INTERNAL, ""), *away, Refused(grpc.StatusCode.UNKNOWN, "")]
    run.set_tags({"a": 1})
    assert run.flush(20)
    assert stored(service, run).tags["a"] == "1"
    assert "tag" not in caplog.text


def test_a_tag_that_is_set_at_each_step_while_the_service_is_away_costs_one_entry_and_no_words(service, start, caplog):
    service.stop()
    run = start("e")
    for step in range(5_000):
        run.set_tags({"step": step})
    assert run.stats().pending_calls <= 2
    service.start()
    assert run.flush(40), run.stats()
    assert stored(service, run).tags["step"] == "4999"
    assert "tag" not in caplog.text


def test_what_waits_is_bounded_in_bytes_said_once_a_minute_and_the_end_has_its_place(service, start, caplog):
    service.stop()
    run = start("e", settings={"max_call_bytes": 50_000})
    for number in range(200):
        run.set_tags({f"k{number}": "x" * 1_000})
    kept = run.stats().pending_calls
    assert 30 <= kept <= 50
    assert caplog.text.count("wait already for the service") == 1
    run.set_tags({"k0": "newest"})
    service.start()
    assert run.finish(timeout=40), run.stats()
    assert len(stored(service, run).tags) == kept
    assert stored(service, run).tags["k0"] == "newest"
    assert stored(service, run).status == run_pb2.RUN_STATUS_FINISHED


def test_the_end_goes_first_when_time_is_up(service, start):
    run = start("e")
    assert run.flush(20)
    service.runs.poison, service.runs.poisoned = "slow", Refused(UNAVAILABLE, "")
    run.set_tags({"slow": 1})
    assert not run.finish(timeout=0.5)
    assert stored(service, run).status == run_pb2.RUN_STATUS_FINISHED


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "PERMISSION_DENIED", "INTERNAL"])
def test_nothing_waits_for_a_run_that_the_service_does_not_create(service, start, caplog, code):
    service.runs.broken = Refused(grpc.StatusCode[code], "")
    run = start("e", tags={"a": 1})
    run.log({"loss": 1.0})
    begun = time.monotonic()
    assert not run.flush(30)
    assert run.stats().waiting == 1
    assert not run.finish(timeout=30)
    assert time.monotonic() - begun < 20
    assert caplog.text.count("does not create the run") == 1


def test_a_run_that_is_created_late_gets_everything(service, start):
    service.runs.broken = Refused(grpc.StatusCode.PERMISSION_DENIED, "")
    run = start("e", tags={"a": 1})
    run.log({"loss": 1.0})
    assert not run.flush(30)
    service.runs.broken = None
    assert run.finish(timeout=30), "the end asks once more"
    assert service.ledger.values("loss") == [1.0]
    assert stored(service, run).tags["a"] == "1"


def test_a_param_is_not_replaced_while_it_waits(service, start, caplog):
    service.stop()
    run = start("e", params={"z": 0})
    while run.stats().last_error == "":
        time.sleep(0.01)
    run.log_params({"lr": 1})
    run.log_params({"lr": 1, "depth": 2})
    run.log_params({"lr": 3})
    service.start()
    assert run.flush(40)
    assert dict(stored(service, run).params) == {"z": "0", "lr": "1", "depth": "2"}
    assert caplog.text.count("PARAM_CHANGED") == 1
