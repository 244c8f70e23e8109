"""`runstream import wandb` of files that are whole, half written and damaged."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runstream
from runstream_service.importing.wandb_files import WandbFiles
from runstream_service.importing.wandb_records import DamagedFile, _payloads
from tests.imports import wandb_writer
from tests.imports.support import run_import
from tests.support.serve import ServeProcess


@given(sizes=st.lists(st.one_of(st.integers(0, 200), st.integers(32_000, 70_000)), max_size=6))
def test_records_of_any_size_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    path = tmp_path_factory.mktemp("wandb") / "run-a.wandb"
    payloads = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    wandb_writer.write(path, payloads)
    assert list(_payloads(path)) == payloads


@given(cut=st.integers(0, 7 + 4 * 97))
def test_a_file_that_is_cut_anywhere_has_its_whole_records(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("wandb") / "run-a.wandb"
    begins = wandb_writer.write(path, [bytes([number]) * 90 for number in range(4)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])
    assert len(list(_payloads(path))) == sum(begin + 97 <= len(whole) - cut for begin in begins)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("left", range(1, 8))
def test_a_file_may_end_where_its_block_has_no_room_for_another_record(left: int, tmp_path: Path) -> None:
    path = tmp_path / "run-a.wandb"
    wandb_writer.write(path, [b"first", b"x" * (32 * 1024 - 7 - (7 + 5) - 7 - left)])
    assert path.stat().st_size == 32 * 1024 - left
    assert [len(one) for one in _payloads(path)] == [5, 32 * 1024 - 7 - 12 - 7 - left]


def test_a_damaged_record_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "run-a.wandb"
    begins = wandb_writer.write(path, [b"first", b"second", b"third"])
    damaged = bytearray(path.read_bytes())
    damaged[begins[1] + 8] ^= 1
    path.write_bytes(damaged)
    found = _payloads(path)
    assert next(found) == b"first"
    with pytest.raises(DamagedFile, match=f"at byte {begins[1]} is damaged"):
        next(found)


def test_a_second_import_changes_nothing_and_brings_what_is_new(
    tmp_path: Path, service: ServeProcess, client: runstream.Client
) -> None:
    path = tmp_path / "wandb" / "offline-run-1-abc" / "run-abc.wandb"
    path.parent.mkdir(parents=True)
    rows = [wandb_writer.history(step, loss=1 / (step + 1), nested={"x": step}, text="no number") for step in range(40)]
    head = wandb_writer.run(project="twice", lr=0.1, model={"layers": 2})
    wandb_writer.write(path, [head, *rows[:20]])
    first = run_import(service, str(tmp_path / "wandb"), tracker="wandb")
    assert (first.code, first.counts("runs"), first.counts("points")) == (0, (1, 0), (40, 0)), first.err
    (listed,) = client.list_runs("twice")
    run = client.get_run(listed.run_id)
    assert (run.status, run.params) == ("RUNNING", {"lr": "0.1", "model.layers": "2"})

    wandb_writer.write(path, [head, *rows, wandb_writer.ended()])
    assert run_import(service, str(tmp_path / "wandb"), tracker="wandb").counts("points")[0] == 40
    third = run_import(service, str(tmp_path / "wandb"), tracker="wandb")
    assert (third.code, third.counts("runs")[0], third.counts("points")[0]) == (0, 0, 0)
    assert client.get_run(run.run_id).status == "FINISHED"
    (series,) = client.history(run.run_id, "nested.x").series
    assert list(series.steps) == list(range(40))
    assert series.times_unix_us[1] == 1_700_000_001_500_000


def test_values_that_are_no_numbers_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "run-abc.wandb"
    rows = [wandb_writer.history(0, bad="NaN", far="-Infinity", is_on=True, image={"_type": "image-file", "size": 3})]
    wandb_writer.write(path, [wandb_writer.run(), *rows])
    with WandbFiles(path) as source:
        (experiment,) = source.experiments()
        found = {one.key: one.values[0] for one in source.points(list(source.runs(experiment)))}
    assert math.isnan(found.pop("bad"))
    assert found == {"far": -math.inf, "is_on": 1.0}


def test_damaged_and_empty_files_are_named_and_the_others_come(tmp_path: Path, service: ServeProcess) -> None:
    good, damaged, empty = (tmp_path / f"run-{name}.wandb" for name in ("good", "damaged", "empty"))
    wandb_writer.write(good, [wandb_writer.run("good", "damage"), wandb_writer.history(0, loss=1.0)])
    begins = wandb_writer.write(
        damaged, [wandb_writer.run("damaged", "damage"), *(wandb_writer.history(step, loss=1.0) for step in range(3))]
    )
    content = bytearray(damaged.read_bytes())
    content[begins[2] + 10] ^= 1
    damaged.write_bytes(content)
    empty.touch()
    done = run_import(service, str(tmp_path), tracker="wandb")
    assert (done.code, done.counts("runs"), done.counts("points")) == (1, (2, 0), (2, 0)), done.err
    assert f"run-damaged.wandb: the record at byte {begins[2]} is damaged; the file was not read further" in done.err
    assert "run-empty.wandb: no run was written to it; it was left out" in done.err


@pytest.mark.parametrize(("tracker", "names"), [("wandb", "no file *.wandb"), ("trackio", "no database *.db")])
def test_a_directory_without_runs_is_refused(tmp_path: Path, service: ServeProcess, tracker: str, names: str) -> None:
    done = run_import(service, str(tmp_path), tracker=tracker)
    assert done.code == 2
    assert names in done.err
    missing = run_import(service, str(tmp_path / "missing"), tracker=tracker)
    assert "there is no such file or directory" in missing.err
