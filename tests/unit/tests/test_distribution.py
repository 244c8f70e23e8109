"""The order in which the files of the tests start."""

from __future__ import annotations

from tests.support.distribution import by_turns


def test_files_that_wait_and_files_that_compute_start_by_turns_and_all_of_them_once() -> None:
    waiting = [f"tests/acceptance/test_{number}.py" for number in range(4)]
    computing = [f"tests/unit/test_{number}.py" for number in range(40)]
    order = by_turns([*waiting, *computing, "tests/page/test_runs.py"])
    assert order[:2] == ["tests/page/test_runs.py", waiting[0]]
    assert [order.index(file) for file in waiting] == [1, 9, 17, 25]
    assert [file for file in order if file in computing] == computing
    assert sorted(order) == sorted([*waiting, *computing, "tests/page/test_runs.py"])


def test_files_that_take_long_start_before_others_that_wait() -> None:
    files = ["tests/acceptance/test_access.py", "tests/adversity/test_workers.py"]
    assert by_turns(files) == files[::-1]


def test_a_few_files_of_one_kind_keep_their_order() -> None:
    for files in (["tests/unit/b.py", "tests/unit/a.py"], ["tests/adversity/b.py", "tests/adversity/a.py"], []):
        assert by_turns(files) == files
