"""Which run and rank an event file belongs to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runstream.tensorboard.layout import Layout, find_event_files

FILE = "events.out.tfevents.1700000000.host.1.0"


@pytest.mark.parametrize(
    ("directory", "run", "rank"),
    [
        ("", "logs", 0),
        ("mlp", "mlp", 0),
        ("sweep/mlp/train", "sweep/mlp/train", 0),
        ("mlp/rank_3", "mlp", 3),
        ("mlp/rank-12", "mlp", 12),
        ("rank_1/mlp", "mlp", 1),
        ("RANK=2", "logs", 2),
        ("mlp/7", "mlp/7", 0),
        ("mlp/1700000123.4567", "mlp", 0),
    ],
)
def test_a_directory_is_a_run_and_rank_n_is_a_rank(directory: str, run: str, rank: int) -> None:
    path = f"{directory}/{FILE}" if directory else FILE
    assert Layout(Path("/somewhere/logs")).place(path) == (run, rank)


def test_patterns_choose_run_and_rank() -> None:
    layout = Layout(Path("/logs"), r"^jobs/([^/]+)/", r"/tb/(\d+)/")
    assert layout.place(f"jobs/mlp/tb/3/{FILE}") == ("mlp", 3)
    assert layout.place(f"other/mlp/tb/3/{FILE}") is None
    assert layout.place(f"jobs/mlp/tb/{FILE}") is None


def test_a_rank_pattern_alone_leaves_its_directory_out_of_the_name() -> None:
    assert Layout(Path("/logs"), rank_pattern=r"/(\d+)/events").place(f"mlp/3/{FILE}") == ("mlp", 3)


@pytest.mark.parametrize("pattern", ["(", "no group"])
def test_a_pattern_that_is_none_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(ValueError, match="--run-from"):
        Layout(Path("/logs"), pattern)


def test_event_files_are_found_once_through_links_that_form_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / FILE).write_bytes(b"")
    (tmp_path / "a" / f"{FILE}.profile-empty").write_bytes(b"")
    (tmp_path / "a" / "checkpoint.pt").write_bytes(b"")
    os.symlink(tmp_path, tmp_path / "a" / "up")
    assert list(find_event_files(tmp_path, {})) == [f"a/{FILE}"]
