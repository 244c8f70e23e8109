"""Real PyTorch Lightning with its own loggers next to ours, and its launchers."""

from __future__ import annotations

import copy
import csv
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

import runstream
from runstream.lightning import RunstreamLogger
from tests.frameworks.lightning_training import Model, loader, trainer
from tests.frameworks.stored import points_of, the_run

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own, of small trainings


def written(logger: CSVLogger) -> dict[str, list[tuple[int, float]]]:
    """Key -> (step, value) of each point that Lightning's own logger has written."""
    rows = list(csv.DictReader((Path(logger.log_dir) / "metrics.csv").open()))
    keys = [key for key in rows[0] if key != "step"]
    return {key: [(int(row["step"]), float(row[key])) for row in rows if row[key]] for key in keys}


def test_a_run_has_what_lightnings_own_logger_writes(serve, client, tmp_path):
    ours, theirs = RunstreamLogger("lightning", "mlp", address=serve.grpc_address), CSVLogger(str(tmp_path))
    training = trainer(tmp_path, [ours, theirs])
    training.fit(Model(lr=0.25, layers={"hidden": 8, "out": 1}), loader(), loader())
    run_id = ours.version
    run = client.get_run(run_id)
    assert (run.name, run.status) == ("mlp", "FINISHED")
    assert run.params == {"lr": "0.25", "layers/hidden": "8", "layers/out": "1"}
    expected = written(theirs)
    assert expected.keys() == {"train/loss", "rank", "val/loss", "epoch"}
    found = points_of(client, run_id)
    assert found.keys() == expected.keys()
    for key, points in expected.items():
        # A key that is logged twice at one step, as the epoch is, is one row of the CSV file.
        assert dict(found[key]) == pytest.approx(dict(points)), key
    assert [step for step, _ in found["train/loss"]] == list(range(16))
    assert (tmp_path / "lightning" / run_id / "checkpoints").is_dir()


def test_a_test_after_the_training_belongs_to_its_run_and_warns_of_nothing(serve, client, tmp_path, caplog):
    logger = RunstreamLogger("lightning", prefix="small", address=serve.grpc_address)
    training, model = trainer(tmp_path, logger), Model()
    training.fit(model, loader())
    run_id = logger.version
    for _ in range(2):
        training.test(model, loader(), verbose=False)
        assert client.get_run(run_id).status == "FINISHED"
    assert copy.deepcopy(logger).version == run_id == logger.version
    points = points_of(client, run_id)
    assert points.keys() == {"small/train/loss", "small/rank", "small/epoch", "small/test/loss"}
    assert [step for step, _ in points["small/test/loss"]] == [16, 16]
    assert not [record for record in caplog.records if record.name == "runstream"]


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [(RuntimeError("diverged"), RuntimeError, "FAILED"), (KeyboardInterrupt(), SystemExit, "KILLED")],
    ids=["exception", "Ctrl-C"],
)
def test_a_training_that_is_cut_off_ends_its_run(serve, client, tmp_path, error, raised, status):
    logger = RunstreamLogger("lightning", address=serve.grpc_address)
    at_ctrl_c = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(raised):
            trainer(tmp_path, logger).fit(Model(fails={5: error}), loader())
    finally:
        signal.signal(signal.SIGINT, at_ctrl_c)  # Lightning ignores it after the first one
    run_id = logger.version
    assert client.get_run(run_id).status == status
    assert [step for step, _ in points_of(client, run_id)["train/loss"]] == list(range(5))


def test_a_training_goes_on_from_its_checkpoint_as_the_next_attempt_of_its_run(serve, client, tmp_path):
    def logger(**options):
        return RunstreamLogger("lightning", "resumed", address=serve.grpc_address, **options)

    keep = ModelCheckpoint(dirpath=tmp_path, save_last=True, every_n_train_steps=8, save_top_k=0)
    first = logger()
    with pytest.raises(RuntimeError):
        trainer(tmp_path, first, callbacks=[keep]).fit(Model(fails={12: RuntimeError("lost")}), loader())
    run_id = first.version
    again = logger(run_id=run_id, attempt=1)
    trainer(tmp_path, again).fit(Model(), loader(), ckpt_path=str(tmp_path / "last.ckpt"))
    assert client.get_run(run_id).status == "FINISHED"
    steps = {one.attempt: list(one.steps) for one in client.history(run_id, "train/loss").series}
    assert steps == {0: list(range(12)), 1: list(range(8, 16))}


def test_a_run_that_the_caller_has_started_is_left_open(serve, client, tmp_path):
    with runstream.start_run("lightning", address=serve.grpc_address) as run:
        logger = RunstreamLogger(run=run)
        trainer(tmp_path, logger, max_epochs=1).fit(Model(), loader())
        run.log({"afterwards": math.pi}, step=8)
        assert run.flush(20)
        assert client.get_run(run.run_id).status == "RUNNING"
    assert [step for step, _ in points_of(client, run.run_id)["afterwards"]] == [8]


def test_a_wrong_argument_raises_where_the_logger_is_made():
    arguments: list[tuple[dict[str, Any], str]] = [
        ({"experiment": ""}, "experiment"),
        ({"run_id": "x"}, "run_id"),
        ({"attempt": -1}, "attempt"),
        ({"address": "nonsense address"}, "address"),
        ({"colour": "red"}, "colour"),
        ({"run": "mlp"}, "run must be"),
    ]
    for wrong, why in arguments:
        with pytest.raises((TypeError, ValueError), match=why):
            RunstreamLogger(**wrong)


@pytest.mark.parametrize(
    ("strategy", "ranks", "package"),
    [("ddp", "all", "lightning.pytorch"), ("ddp_fork", "zero", "pytorch_lightning")],
)
def test_the_ranks_of_a_launch_share_a_run(serve, client, tmp_path, strategy, ranks, package):
    done = subprocess.run(
        [sys.executable, "-m", "tests.frameworks.lightning_training", str(tmp_path), strategy, ranks],
        cwd=ROOT,
        env={
            **os.environ,
            "RUNSTREAM_ADDRESS": serve.grpc_address,
            "OMP_NUM_THREADS": "1",
            "LIGHTNING_PACKAGE": package,
        },
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    run = the_run(client, "lightning", f"{strategy} {ranks}")
    assert (run.status, run.params["lr"]) == ("FINISHED", "0.1")
    series = client.history(run.run_id, "rank").series
    expected = {0: [0.0] * 4, 1: [1.0] * 4} if ranks == "all" else {0: [0.0] * 4}
    assert {one.rank: list(one.values) for one in series} == expected
    assert "runstream" not in done.stderr.replace("RunstreamLogger", "")
