"""A training that a real launcher starts, on gloo: a rank of torchrun, or with `spawn` a program that spawns its ranks.

Each rank prints its run id, rank, attempt and the run's status. With `restart`, rank 0 of the first attempt fails.
"""

from __future__ import annotations

import os
import signal
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import runstream


def say_which(run: runstream.Run, status: str) -> None:
    """In one write, since the ranks of a launch have one output: where PYTHONUNBUFFERED is set, print() writes each
    word, and the end of the line, on its own."""
    sys.stdout.write(f"{run.run_id} {run.rank} {run.attempt} {status}\n")
    sys.stdout.flush()


def train() -> None:
    """One rank, after the process group is there."""
    run = runstream.start_run("launchers", "trained")
    total = torch.ones(1)
    dist.all_reduce(total)
    for step in range(10):
        run.log({"loss": total / (step + 1)}, step=step + 10 * run.attempt)
    assert run.flush(60)
    status = runstream.Client().get_run(run.run_id).status
    say_which(run, status)
    # All of them have asked before rank 0 ends the run.
    dist.barrier()
    run.finish()
    dist.destroy_process_group()


def restarted() -> None:
    """One rank of a job whose first attempt fails; without a group, which has nothing to do with it."""
    run = runstream.start_run("launchers", "restarted")
    run.log({"loss": 1.0}, step=run.attempt)
    assert run.flush(60)
    say_which(run, runstream.Client().get_run(run.run_id).status)
    if run.attempt == 0:
        if run.rank > 0:
            signal.pause()  # until torchrun ends it
        run.finish("FAILED")
        sys.exit(1)
    run.finish()


def spawned(rank: int, ranks: int, port: int) -> None:
    """As in the tutorials: the address in the environment, the rank in the call."""
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    train()


if __name__ == "__main__":
    if sys.argv[1:] == ["spawn"]:
        mp.spawn(spawned, args=(2, int(os.environ["PORT"])), nprocs=2)
    elif sys.argv[1:] == ["restart"]:
        restarted()
    else:
        dist.init_process_group("gloo")
        train()
