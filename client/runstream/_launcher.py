"""What the system knows about this process: its age, the process that launched it, and the modules that it has loaded.

Linux has all of that in /proc. On other systems, the launcher has no id, and the age counts from the import of this
module.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_MAX_ANCESTORS = 16  # a launcher is two or three processes away: wrapper scripts, numactl
_KUBERNETES_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
# Libraries whose rank 0 starts the other ranks, and writes its own rank into its environment.
_RANK_0_LAUNCHES = ("lightning", "lightning_fabric", "pytorch_lightning")
_ELASTIC_NODES = re.compile(r"(?:^|\0)--nnodes[=\0](\d+):(\d+)(?:\0|$)")

_imported_s = time.monotonic()
_started_s: float | None = None  # when this process started, by _boot_clock_s


class LaunchEnvironment:
    """The facts about this process that `_identity` needs. Tests replace it."""

    def group(self) -> tuple[int, int] | None:
        """Rank and size of torch.distributed's process group; None if the program has not set one up."""
        distributed = sys.modules.get("torch.distributed")
        try:
            if distributed is not None and distributed.is_available() and distributed.is_initialized():
                return int(distributed.get_rank()), int(distributed.get_world_size())
        except Exception:  # noqa: S110 (the group is just being destroyed)
            pass
        return None

    def is_multiprocessing_child(self) -> bool:
        """Whether multiprocessing (or torch.multiprocessing) started this process."""
        parent = getattr(sys.modules.get("multiprocessing.process"), "parent_process", None)
        return parent is not None and parent() is not None

    def kubernetes_namespace(self) -> str:
        """The namespace of this pod; empty outside of Kubernetes."""
        try:
            return _KUBERNETES_NAMESPACE.read_text().strip()
        except OSError:
            return ""

    def launcher_id(self, environ: Mapping[str, str], names: tuple[str, ...]) -> str:
        """An id of the process that set the variables `names` for this one, which no other process ever has. Empty if
        that process is unknown.

        It is the nearest ancestor without these variables: wrapper scripts in between have them too, and each rank may
        have a wrapper of its own.
        """
        markers = {name: environ[name] for name in names if name in environ}
        pid = os.getpid()
        itself = "RANK" not in markers and self.launches_ranks()  # Lightning's rank 0 gives itself a LOCAL_RANK only
        if self.is_multiprocessing_child() or not (_started_with(pid, markers) or itself):
            pid = os.getppid()
        for _ in range(_MAX_ANCESTORS):
            if pid <= 0:
                break
            if not _started_with(pid, markers):
                return "" if _may_grow(pid) else _process_id(pid)
            pid = _parent_of(pid)
        return ""

    def own_id(self) -> str:
        """The `launcher_id` of ranks that this process launches."""
        return _process_id(os.getpid())

    def launches_ranks(self) -> bool:
        """Whether this process, if it is rank 0, may start the other ranks itself."""
        return any(name in sys.modules for name in _RANK_0_LAUNCHES)


def process_age_us() -> int:
    """The age of this process in microseconds. After a fork, the age of the parent, since the child belongs to it."""
    global _started_s
    if _started_s is None:
        _started_s = _start_of_process()
    return max(1, int((_boot_clock_s() - _started_s) * 1e6))


def _start_of_process() -> float:
    stat = _stat(os.getpid())
    now = _boot_clock_s()
    if stat is not None and 0 < (started := stat.started_ticks / os.sysconf("SC_CLK_TCK")) <= now:
        return started
    return now - (time.monotonic() - _imported_s)


def _boot_clock_s() -> float:
    # The clock of the start times in /proc. It also runs while the machine is suspended.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class _Stat(NamedTuple):
    parent: int
    started_ticks: int


def _stat(pid: int) -> _Stat | None:
    try:
        # Fields after the command's closing parenthesis: state, parent, and as the 20th the start in ticks since boot.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return _Stat(int(fields[1]), int(fields[19]))
    except (OSError, IndexError, ValueError):
        return None


def _parent_of(pid: int) -> int:
    stat = _stat(pid)
    return stat.parent if stat is not None else 0


def _process_id(pid: int) -> str:
    """Boot id, pid namespace, pid and start time; empty if there is no /proc."""
    stat = _stat(pid)
    if stat is None:
        return ""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    namespace = 0
    with contextlib.suppress(OSError):  # two containers have the same pids, and may start at the same moment
        namespace = (_PROC / "self/ns/pid").stat().st_ino
    return f"{boot}/{namespace}/{pid}/{stat.started_ticks}"


def _started_with(pid: int, markers: Mapping[str, str]) -> bool:
    """Whether a process was started with one of these variables. False if it set them later, or belongs to another
    user."""
    try:
        started_with = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(f"{name}={value}".encode(errors="surrogateescape") in started_with for name, value in markers.items())


def _may_grow(pid: int) -> bool:
    """Whether a process is a torchrun that other nodes may join later (--nnodes=1:4), so that it is not the only one of
    its launch."""
    try:
        command = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    nodes = _ELASTIC_NODES.search(command)
    return nodes is not None and nodes[1] != nodes[2]
