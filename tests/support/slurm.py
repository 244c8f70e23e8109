"""A real Slurm of one node: controller, node and authentication, in a directory of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.polling import until_now

PROGRAMS = ("munged", "sbatch", "slurmctld", "slurmd")
_ENDS_WITHIN_S = 20


class Slurm:
    """Jobs run as the user of the tests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._configuration = directory / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of Slurm's commands."""
        return {"SLURM_CONF": str(self._configuration)}

    @contextmanager
    def running(self) -> Iterator[Slurm]:
        """Starts all parts of Slurm; a context manager that stops them at its end."""
        socket_path = self._write_configuration()
        munge = ["--foreground", "--force", f"--socket={socket_path}", f"--key-file={self._key()}"]
        munge += [f"--{name}={self._directory / name}" for name in ("pid-file", "log-file", "seed-file")]
        with ExitStack() as stack:
            stack.enter_context(self._process("munged", *munge))
            until_now(socket_path.exists)
            stack.enter_context(self._process("slurmctld", "-D"))
            stack.enter_context(self._process("slurmd", "-D", "-N", _node()))
            until_now(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T", check=False))
            yield self

    def run(
        self,
        *command: str,
        check: bool = True,
        directory: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> str:
        """The output of a command."""
        environment = {**(variables or os.environ), **self.environment}
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def requeue_now(self, job: str) -> None:
        """Starts a requeued job immediately, without Slurm's wait of two minutes."""
        self.run("scontrol", "requeue", job)
        until_now(lambda: self.state(job) == "PENDING")
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now")

    def state(self, job: str) -> str:
        """The state of a job; empty when Slurm has forgotten it."""
        return self.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T", check=False).strip()

    def _key(self) -> Path:
        path = self._directory / "munge.key"
        path.write_bytes(os.urandom(1024))
        path.chmod(0o400)
        return path

    def _write_configuration(self) -> Path:
        user, here = _user(), self._directory
        with socket.socket() as controller, socket.socket() as node:
            controller.bind(("127.0.0.1", 0))
            node.bind(("127.0.0.1", 0))
            ports = controller.getsockname()[1], node.getsockname()[1]
        for name in ("state", "spool"):
            (here / name).mkdir()
        munge = here / "munge.sock"
        lines = [
            "ClusterName=test",
            f"SlurmctldHost={_node()}(127.0.0.1)",
            f"SlurmUser={user}",
            f"SlurmdUser={user}",
            f"AuthInfo=socket={munge}",
            f"SlurmctldPort={ports[0]}",
            f"SlurmdPort={ports[1]}",
            f"StateSaveLocation={here / 'state'}",
            f"SlurmdSpoolDir={here / 'spool'}",
            f"SlurmctldPidFile={here / 'slurmctld.pid'}",
            f"SlurmdPidFile={here / 'slurmd.pid'}",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none",
            "AccountingStorageType=accounting_storage/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU",
            "MpiDefault=none",
            "KillWait=5",
            f"NodeName={_node()} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN",
            "PartitionName=all Nodes=ALL Default=YES State=UP",
        ]
        self._configuration.write_text("\n".join(lines) + "\n")
        return munge

    @contextmanager
    def _process(self, program: str, *arguments: str) -> Iterator[None]:
        path = shutil.which(program) or program
        with (self._directory / f"{program}.log").open("wb") as log:
            process = subprocess.Popen(
                [path, *arguments], env={**os.environ, **self.environment}, stdout=log, stderr=log
            )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _node() -> str:
    return socket.gethostname().partition(".")[0]


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
