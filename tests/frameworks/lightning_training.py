"""A small training with Lightning, in this process or as a program that Lightning starts again for its other ranks.

python -m tests.frameworks.lightning_training DIRECTORY STRATEGY all|zero
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

pl: Any = importlib.import_module(os.environ.get("LIGHTNING_PACKAGE", "lightning.pytorch"))

from runstream.lightning import RunstreamLogger  # noqa: E402 - after the package that it is for


class Model(pl.LightningModule):
    """A line through points; `fails` is raised in the given step."""

    def __init__(self, lr: float = 0.1, layers: dict[str, int] | None = None, fails: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["fails"])
        self.fails = fails or {}
        self.line = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, index: int) -> Any:
        loss = self._loss(batch)
        if self.global_step in self.fails:
            raise self.fails[self.global_step]
        self.log("train/loss", loss)
        self.log("rank", float(self.global_rank))
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val/loss", self._loss(batch))

    def test_step(self, batch: Any, index: int) -> None:
        self.log("test/loss", self._loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])

    def _loss(self, batch: Any) -> Any:
        x, y = batch
        return torch.nn.functional.mse_loss(self.line(x), y)


def loader(workers: int = 0) -> DataLoader[Any]:
    """Eight batches."""
    torch.manual_seed(0)
    x = torch.randn(32, 2)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4, num_workers=workers)


def trainer(directory: Path, logger: Any, **options: Any) -> Any:
    """Quiet, on the CPU, with metrics of each step."""
    chosen = {"max_epochs": 2, "devices": 1, **options}
    return pl.Trainer(
        accelerator="cpu",
        logger=logger,
        log_every_n_steps=1,
        default_root_dir=str(directory),
        enable_progress_bar=False,
        enable_model_summary=False,
        **chosen,
    )


def main(directory: str, strategy: str, ranks: str) -> None:
    """Two ranks, whose data come from workers."""
    logger = RunstreamLogger("lightning", f"{strategy} {ranks}", all_ranks=ranks == "all")
    two = trainer(Path(directory), logger, devices=2, strategy=strategy, max_epochs=1)
    two.fit(Model(), loader(workers=1))
    two.test(Model(), loader(), verbose=False)


if __name__ == "__main__":
    main(*sys.argv[1:4])
