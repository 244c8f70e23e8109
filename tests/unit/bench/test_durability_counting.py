"""The durability benchmark counts what a tracker has lost, doubled, changed and made up, and pages get its tables."""

from __future__ import annotations

import json
import math
from pathlib import Path

from runstream_bench.durability.cells import Result
from runstream_bench.durability.counting import Call, Counts, Point, count, read_notes, read_points
from runstream_bench.durability.names import SCENARIOS, TRACKERS
from runstream_bench.durability.page import tables, write_tables
from runstream_bench.durability.report import Report, brief
from runstream_bench.durability.scenarios import ALL
from runstream_bench.durability.trackers import all_trackers
from tests.support.markdown import ROOT

NOW = 1_700_000_000.0


def point(step: int, value: float | None = None) -> Point:
    return Point("run", "loss", 0, step, float(step if value is None else value).hex())


def call(*points: Point, refused: bool = False, seconds: float | None = 0.001) -> Call:
    return Call(points, NOW, seconds, refused)


def stored(*points: Point, at: float = NOW) -> list[tuple[Point, float]]:
    return [(one, at) for one in points]


def test_points_that_are_all_there_once_count_as_logged_and_nothing_else() -> None:
    assert count([call(point(1), point(2))], stored(point(2), point(1))) == Counts(logged=2)


def test_a_missing_point_is_lost_and_named() -> None:
    counts = count([call(point(1)), call(point(2))], stored(point(1)))
    assert (counts.logged, counts.lost) == (2, 1)
    assert "step=2" in counts.examples[0]


def test_a_second_copy_is_doubled_unless_it_was_logged_twice() -> None:
    assert count([call(point(1))], stored(point(1), point(1), point(1))).doubled == 2
    assert count([call(point(1)), call(point(1))], stored(point(1), point(1))) == Counts(logged=2)


def test_another_value_or_another_step_is_changed_and_not_lost() -> None:
    value = count([call(point(1))], stored(point(1, 1.5)))
    step = count([call(point(2**53 + 1, 7.0))], stored(point(2**53, 7.0)))
    for counts in (value, step):
        assert (counts.logged, counts.lost, counts.changed, counts.invented) == (1, 0, 1, 0)


def test_the_sign_of_zero_counts_and_nan_is_nan() -> None:
    assert count([call(point(1, -0.0))], stored(point(1, 0.0))).changed == 1
    assert count([call(point(1, math.nan))], stored(point(1, math.nan))) == Counts(logged=1)


def test_a_step_that_came_twice_and_is_there_once_has_lost_one() -> None:
    counts = count([call(point(1, 3.0)), call(point(1, 4.0))], stored(point(1, 4.0)))
    assert (counts.lost, counts.changed, counts.invented) == (1, 0, 0)


def test_a_point_that_nobody_logged_is_invented() -> None:
    assert count([call(point(1))], stored(point(1), point(9))).invented == 1


def test_a_refused_call_may_be_stored_or_not_but_not_twice() -> None:
    refused = call(point(1), refused=True)
    assert count([refused], []) == Counts(refused=1)
    assert count([refused], stored(point(1))) == Counts(refused=1, refused_but_stored=1)
    assert count([refused], stored(point(1), point(1))).doubled == 1


def test_a_call_in_which_the_process_was_killed_may_be_stored_or_not() -> None:
    assert count([call(point(1), seconds=None)], []) == Counts()
    assert count([call(point(1), seconds=None)], stored(point(1))) == Counts()


def test_a_time_that_is_not_that_of_the_call_is_counted() -> None:
    assert count([call(point(1))], stored(point(1), at=NOW + 60)).moved == 1
    # A call that took a minute: any time within it will do.
    assert count([call(point(1), seconds=60.0)], stored(point(1), at=NOW + 30)).moved == 0


def test_notes_of_a_process_that_was_killed_in_the_middle_of_a_line_are_read(tmp_path: Path) -> None:
    lines = [
        {"ready": "run", "s": 0.5},
        {"n": 0, "step": 7, "at": NOW, "values": {"loss": "0x1.0p+0"}},
        {"returned": 0, "s": 0.002},
        {"n": 1, "step": 8, "at": NOW, "values": {"loss": "0x1.8p+0"}},
        {"refused": 1, "s": 0.5, "error": "ConnectionError: away"},
        {"n": 2, "step": 9, "at": NOW, "values": {"loss": "0x1.cp+0"}},
    ]
    path = tmp_path / "truth"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"returned": 2, "s"')
    notes = read_notes(path)
    assert (notes.run_id, notes.errors, notes.finish_s) == ("run", ["ConnectionError: away"], None)
    assert [(one.points[0].step, one.seconds, one.refused) for one in notes.calls] == [
        (7, 0.002, False),
        (8, 0.5, True),
        (9, None, False),
    ]
    assert notes.waited_s == 0.502


def test_points_that_a_reader_wrote_are_read(tmp_path: Path) -> None:
    (tmp_path / "points").write_text(json.dumps(["run", "loss", 3, 4, "nan", 5_000_000]) + "\n")
    assert read_points(tmp_path / "points") == [(Point("run", "loss", 3, 4, "nan"), 5.0)]


def test_every_name_has_a_tracker_and_a_scenario() -> None:
    assert list(all_trackers()) == list(TRACKERS)
    assert list(ALL) == list(SCENARIOS)


def test_a_page_gets_new_tables_and_keeps_its_words(tmp_path: Path) -> None:
    results = (
        Result("runstream", "values", Counts(logged=56)),
        Result("mlflow", "values", Counts(logged=56, changed=12), waited_s=4.0, worst_s=3.0, errors={"Error: a|b": 3}),
    )
    trackers = tuple(all_trackers()[name] for name in ("runstream", "mlflow"))
    report = Report(trackers, {"aim": "no wheel"}, results, scale=1.0)
    page = tmp_path / "comparison.md"
    write_tables(page, report)
    page.write_text(page.read_text().replace("## values\n", "## values\n\nWords.\n"))
    before = page.read_text()
    write_tables(page, report)
    assert page.read_text() == before
    assert "| runstream | ✓ |" in before
    assert f"| mlflow | {brief(results[1])} |" in before
    assert "12 changed, training waited 4.0 s" in before
    assert "| aim | not compared, as it cannot be installed here | no wheel |" in before


def test_the_page_of_the_documents_has_a_mark_for_every_table() -> None:
    results = tuple(Result("runstream", scenario, Counts()) for scenario in SCENARIOS)
    text = (ROOT / "docs" / "comparison.md").read_text()
    for name, _ in tables(Report((), {}, results, scale=1.0)):
        assert text.count(f"<!-- {name}: written by ") == text.count(f"<!-- end of {name} -->") == 1


def test_a_cell_that_failed_says_why() -> None:
    assert brief(Result("aim", "ranks", why="it did not start:\nno such port\n")) == "failed: no such port"
