"""Two ranks that log tensors which are spread over them: python -m tests.frameworks.distributed STORE"""

from __future__ import annotations

import logging
import os
import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

import runstream


def main(store: str) -> int:
    """Become two processes, which import PyTorch only once; return whether one of them failed."""
    logging.basicConfig()
    other = os.fork()
    log(1 if other == 0 else 0, store)
    return os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) if other else 0


def log(rank: int, store: str) -> None:
    """Log a partial, a summed, a replicated and a sharded tensor."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    partial = DTensor.from_local(torch.tensor(3.0 + rank), mesh, [Partial()])
    sharded = DTensor.from_local(torch.full((1 - rank,), 2.5), mesh, [Shard(0)], shape=torch.Size([1]), stride=(1,))
    with runstream.start_run(rank=rank) as run:
        run.log({"partial": partial}, step=0)
        run.log({"full": partial.full_tensor(), "replicated": partial.redistribute(placements=[Replicate()])}, step=0)
        run.log({"sharded": sharded}, step=0)
        assert run.flush(20)
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
