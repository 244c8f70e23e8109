"""From log() to the journal: batches of bounded size, and a bug that ends one recording alone."""

from __future__ import annotations

import time

import pytest

from runstream.journal import RecordType
from tests.support.polling import until_now
from tests.unit.client.conftest import StartRun
from tests.unit.client.stored_journals import TestAgent


def batches(agent: TestAgent) -> list[int]:
    """The number of points of each batch in the journals."""
    return [points for _, kind, points in agent.records if kind is RecordType.BATCH]


def test_a_point_that_comes_alone_is_in_the_journal_soon(agent: TestAgent, start: StartRun) -> None:
    run = start("e", settings={"interval_s": 60.0})
    run.log({"loss": 1.0})
    agent.wait_for(lambda: batches(agent) == [1])


def test_while_many_points_come_they_are_gathered(agent: TestAgent, start: StartRun) -> None:
    run = start("e", settings={"quick_interval_s": 0.01, "interval_s": 0.5})
    until = time.monotonic() + 1.5
    step = 0
    while time.monotonic() < until:
        for _ in range(20):  # many in a second on a busy machine, too
            run.log({"loss": 1.0}, step=step)
            step += 1
        time.sleep(0.005)
    assert run.flush(120)
    assert len(batches(agent)) < 20
    assert sum(batches(agent)) == step


def test_a_batch_has_at_most_a_thousand_points(agent: TestAgent, start: StartRun) -> None:
    run = start("e")
    run.log({f"key{n}": 1.0 for n in range(2_500)})
    assert run.flush(120)
    assert batches(agent)[:2] == [1_000, 1_000]


def test_series_are_declared_before_they_are_used_and_in_records_of_bounded_size(
    agent: TestAgent, start: StartRun
) -> None:
    run = start("e")
    run.log({f"{n:0>250}": 1.0 for n in range(1_200)})
    assert run.flush(120)
    kinds = [kind for _, kind, _ in agent.records if kind in (RecordType.DECLARE, RecordType.BATCH)]
    assert kinds.count(RecordType.DECLARE) == 6
    assert len(agent.points) == 1_200


def test_params_and_tags_are_written_in_records_of_bounded_size(agent: TestAgent, start: StartRun) -> None:
    run = start("e", params={f"p{n}": "漢" * 6_000 for n in range(100)})
    run.set_tags({f"t{n}": str(n) for n in range(2_500)})
    assert run.flush(120)
    stored = agent.runs[run.run_id]
    assert (len(stored.params), len(stored.tags)) == (100, 2_500)
    sizes = [len(payload) for _, kind, payload in agent.records if kind is RecordType.TAGS]
    assert max(sizes) <= 1_000


def test_a_bug_ends_one_recording_alone(
    agent: TestAgent,
    start: StartRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run, other = start("e"), start("e")
    assert run.flush(120)

    def bug(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(run._recording, "seal_and_write", bug)
    run.log({"loss": 1.0})
    until_now(lambda: run.stats().refused)
    run.log({"loss": 2.0})
    other.log({"loss": 3.0})
    assert not run.flush(20)
    assert other.flush(120)
    assert dict(run.stats().refused) == {"recorder_died": 2}
    assert "died because of a bug in runstream" in caplog.text
    assert not run.finish()
