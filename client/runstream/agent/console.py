"""python -m runstream.agent: the commands in plain text, with nothing but the standard library.

`runstream agent` and `runstream sync` do the same, with tables and a progress bar.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runstream.agent.process import GRACE_S
from runstream.journal import Directory

if TYPE_CHECKING:
    from runstream.agent.process import Companion


def main(arguments: Sequence[str]) -> int:
    """Runs one command; returns the exit status."""
    if [*arguments[:3]] == ["run", "--detach", "--dir"] and len(arguments) == 4:  # as a training process starts it
        return run_agent(arguments[3], stay=False, detach=True)
    import argparse  # after that, as it and the parser take time

    parser = argparse.ArgumentParser(prog="python -m runstream.agent", description="Send the journals of this machine.")
    commands = parser.add_subparsers(dest="command")
    run = commands.add_parser("run", help="send journals to the service until nothing is left")
    run.add_argument(
        "--dir", default="", help="the directory with journals; default: RUNSTREAM_DIR, or that of this user"
    )
    run.add_argument("--stay", action="store_true", help="do not end when there is nothing left to do")
    run.add_argument(
        "--grace",
        type=float,
        default=GRACE_S,
        metavar="SECONDS",
        help="after SIGTERM, how long to continue while something is left to send; default: %(default)s",
    )
    run.add_argument("--detach", action="store_true", help="run in the background, and print nothing")
    status = commands.add_parser("status", help="show journals and the agent")
    status.add_argument("--dir", default="")
    status.add_argument("--json", action="store_true")
    sync = commands.add_parser("sync", help="send what is left in a directory, a journal, or a copy of one")
    sync.add_argument("path", type=Path)
    sync.add_argument("--address", default="", help="send to this service, instead of the ones that the journals name")
    check = commands.add_parser("check", help="verify journals, without changing them")
    check.add_argument("path", type=Path)
    options = parser.parse_args(arguments or ["run"])
    if options.command == "run":
        return run_agent(options.dir, stay=options.stay, detach=options.detach, grace_s=options.grace)
    if options.command == "status":
        return _status(options.dir, as_json=options.json)
    return _sync(options.path, options.address) if options.command == "sync" else _check(options.path)


def run_agent(
    directory: str,
    *,
    stay: bool,
    detach: bool = False,
    companion: Callable[[Directory], Companion] | None = None,
    grace_s: float = GRACE_S,
) -> int:
    """Runs the agent of a directory; returns the exit status."""
    from runstream.agent.process import Options, run

    path = _directory(directory)
    return run(Options(path.path, detach, stay, companion, grace_s)) if path is not None else 1


def _directory(named: str) -> Directory | None:
    try:
        return Directory(Path(named)) if named else Directory.choose(os.environ)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return None


def _status(named: str, as_json: bool) -> int:
    from runstream.agent.status import read_status

    directory = _directory(named)
    if directory is None:
        return 1
    status = read_status(directory)
    if as_json:
        sys.stdout.write(status.as_json() + "\n")
        return 0
    agent = f"runs (pid {status.agent_pid})" if status.agent_runs else "does not run"
    sys.stdout.write(
        f"{directory.chosen()}: {status.total_bytes:,} of {status.limit_bytes:,} bytes; the agent {agent}\n"
    )
    for one in status.journals:
        sys.stdout.write(
            f"run {one.run_id or '?'} {one.run_name} rank {one.rank}: {one.points_waiting:,} points wait, "
            f"{one.acknowledged_points:,} acknowledged, {sum(one.refused.values()):,} refused; writer {one.writer}"
            f"{'; ' + one.problem if one.problem else ''}"
            f"{'; last error: ' + one.last_error if one.last_error else ''}\n"
        )
    return 0


def _sync(path: Path, address: str) -> int:
    from runstream.agent.sync import CannotSync, sync

    def progress(settled: int, total: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{settled:,} of {total:,} points")

    try:
        result = sync(path, address, progress=progress)
    except CannotSync as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    sys.stdout.write("\n".join(result.lines()) + "\n")
    return 0 if result.ok else 1


def _check(path: Path) -> int:
    from runstream.agent.status import journal_status
    from runstream.agent.sync import CannotSync, check_path

    try:
        found = check_path(path)
    except CannotSync as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for one in map(journal_status, found):
        sys.stdout.write(
            f"run {one.run_id or '?'} {one.run_name} rank {one.rank}: {one.points_waiting:,} points wait; "
            f"{one.problem or 'no damage'} ({one.path})\n"
        )
        sys.stdout.writelines(f"  {text}\n" for text in one.damage)
    return 1 if any(one.is_damaged or not one.create for one in found) else 0
