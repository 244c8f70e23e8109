"""Real PyTorch, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.tensor(0.5), 0.5),
        (torch.tensor(0.5, dtype=torch.float64), 0.5),
        (torch.tensor(1.5, dtype=torch.bfloat16), 1.5),
        (torch.tensor(1.5, dtype=torch.float16), 1.5),
        (torch.tensor(3), 3.0),
        (torch.tensor(True), 1.0),
        (torch.ones(1), 1.0),
        (torch.ones(1, 1), 1.0),
        (torch.tensor(2.0, requires_grad=True) * 2, 4.0),
        (nn.Parameter(torch.tensor(2.5)), 2.5),
        (torch.tensor([1.0, 2.0])[1], 2.0),
        (torch.tensor(float("inf")), float("inf")),
    ],
    ids=str,
)
def test_tensors_with_one_element_are_values(run, client, value, expected):
    run.log({"value": value}, step=0)
    assert run.flush(20)
    assert list(client.history(run.run_id, "value").values) == [expected]


def test_a_tensor_may_be_changed_in_place_after_log(run, client):
    total = torch.zeros(())
    for step in range(50):
        total += 1
        run.log({"total": total}, step=step)
    assert run.flush(20)
    assert list(client.history(run.run_id, "total").values) == [float(n + 1) for n in range(50)]


def test_a_training_with_data_parallel_losses_is_stored(run, client):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(32, 4), torch.randn(32, 1)
    losses = []
    for step in range(20):
        loss = nn.functional.mse_loss(model(x), y).unsqueeze(0)  # of one element, as DataParallel returns it
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        run.log({"train": {"loss": loss, "norm": norm}}, step=torch.tensor(step))
        losses.append(loss.item())
    assert run.flush(20)
    assert list(client.history(run.run_id, "train/loss").values) == losses
    assert len(client.history(run.run_id, "train/norm")) == 20


def test_steps_may_be_tensors(run, client):
    for step in (torch.tensor(3), torch.tensor([4]), torch.tensor(5.0), torch.tensor(2**62 + 1)):
        run.log({"loss": 1.0}, step=step)
    run.log({"loss": 1.0}, step=torch.tensor(1.5))
    run.log({"loss": 1.0}, step=torch.zeros(2))
    assert run.flush(20)
    assert list(client.history(run.run_id, "loss").steps) == [3, 4, 5, 2**62 + 1]
    assert dict(run.stats().refused) == {"bad_step": 2}


def test_what_is_no_number_is_refused_alone(run, caplog):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = torch.ones(())
    run.log(
        {
            "fake": fake,
            "meta": torch.ones((), device="meta"),
            "complex": torch.tensor(1j),
            "wide": torch.ones(2),
            "empty": torch.ones(0),
            "tensors": [torch.ones(())],
            "module": nn.Linear(1, 1),
            "good": torch.ones(()),
        },
        step=0,
    )

    def mapped(x: torch.Tensor) -> torch.Tensor:
        run.log({"mapped": x, "good": 1.0}, step=1)
        return x

    torch.func.vmap(mapped)(torch.ones(3))
    assert run.flush(20)
    assert dict(run.stats().refused) == {"bad_value": 8}
    assert run.stats().acknowledged == 2
    for key in ("fake", "meta", "complex", "wide", "empty", "tensors", "module", "mapped"):
        assert f"metric {key!r} " in caplog.text


def test_a_distributed_tensor_is_its_number_or_is_refused_by_name(serve, run, client, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.frameworks.distributed", str(tmp_path / "store")],
        cwd=ROOT,
        env={**os.environ, "RUNSTREAM_ADDRESS": serve.grpc_address, "RUNSTREAM_RUN_ID": run.run_id},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        assert list(client.history(run.run_id, "replicated", rank=rank).values) == [7.0]
        assert list(client.history(run.run_id, "full", rank=rank).values) == [7.0]
        assert not client.history(run.run_id, "partial", rank=rank)
    assert list(client.history(run.run_id, "sharded").values) == [2.5]  # the rank that holds it
    assert done.stderr.count("metric 'partial' is a partial DTensor") == 2
    assert done.stderr.count("Call full_tensor() on all ranks") == 2
