"""Subcommand tensorboard: options, and the loop around the follower."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runstream.commands.failures import in_one_line
from runstream.commands.options import address_option

if TYPE_CHECKING:
    from runstream.tensorboard.follower import Follower
    from runstream.tensorboard.layout import Layout
    from runstream.tensorboard.report import ConsoleReport
    from runstream.transport.transport import Transport

_ROUND_S, _ROUND_ONCE_S = 0.5, 0.05
_STUCK_S = 10.0  # with --once, how long the service may refuse everything before the command fails
_LAST_ANSWERS_S = 5.0
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


@click.command()
@click.argument("logdir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--once", is_flag=True, help="Import what is there, and end. Exit code 1: something is damaged.")
@click.option("--dry-run", is_flag=True, help="Only show the runs, ranks and keys that would be imported.")
@click.option("--experiment", help="The experiment of the runs.  [default: the name of LOGDIR]")
@click.option(
    "--run-from", default="", metavar="REGEX", help="Searched in each file's path below LOGDIR; group 1 is the run."
)
@click.option(
    "--rank-from",
    default="",
    metavar="REGEX",
    help="Searched in each file's path; group 1 is the rank.  [default: directories rank_N]",
)
@click.option(
    "--end-after", default="1h", show_default=True, help="End a run when nothing was written for this long: 90s, 30m."
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to remember what was imported.  [default: in the directory of the journals]",
)
@address_option
def tensorboard(
    logdir: Path,
    once: bool,
    dry_run: bool,
    experiment: str | None,
    run_from: str,
    rank_from: str,
    end_after: str,
    state: Path | None,
    address: str | None,
) -> None:
    """Stream the scalars of TensorBoard's event files below LOGDIR to the service, while they are written.

    Each directory with event files is a run; directories rank_N below it are its ranks. Every scalar is stored once,
    also when this command is killed and started again. Ctrl-C ends it; the next call continues.
    """
    with in_one_line():
        from runstream.tensorboard.layout import Layout

        layout = Layout(logdir, run_from, rank_from)
        if dry_run:
            _show_plan(logdir, layout)
            return
        end_after_s = _seconds(end_after)
        name = experiment or Path(os.path.realpath(logdir)).name or "tensorboard"
        sys.exit(_follow(logdir, name, layout, state, address, once=once, end_after_s=end_after_s))


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    if found is None or not float(found[1]):
        raise ValueError(f"--end-after {text!r}: expected a time such as 90s, 30m or 6h")
    return float(found[1]) * _UNITS[found[2]]


def _follow(
    logdir: Path, experiment: str, layout: Layout, state_directory: Path | None, address: str | None, *, once: bool,
    end_after_s: float,
) -> int:  # fmt: skip
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    from rich.console import Console

    import runstream
    from runstream._settings import from_environment
    from runstream.journal import Directory
    from runstream.tensorboard.follower import Follower
    from runstream.tensorboard.report import ConsoleReport, progress_line
    from runstream.tensorboard.state import State, StateInUse, default_directory
    from runstream.transport.limits import Limits
    from runstream.transport.transport import Transport

    endpoint = from_environment(address, os.environ).endpoint
    if state_directory is None:
        root = Directory.choose(os.environ).path
        workspace = endpoint.credentials.workspace
        state_directory = default_directory(root, logdir, endpoint.address, workspace, experiment)
    try:
        state = State(state_directory)
    except StateInUse as error:
        raise ValueError(str(error)) from error
    _end_as_with_ctrl_c()
    console = Console(stderr=True)
    # A follower with nothing to do checks its files a few times a second.
    limits = Limits(poll_s=_ROUND_ONCE_S if once else _ROUND_S)
    with ConsoleReport(console, once=once) as report, runstream.Client(address) as client:
        transport = Transport(limits=limits, log=report.log)
        follower = Follower(
            logdir, experiment, layout, state, transport, endpoint, lambda run_id: _exists(client, run_id), report,
            once=once, end_after_s=end_after_s,
        )  # fmt: skip
        transport.start()
        report.say(
            f"{'importing' if once else 'following'} {logdir} into experiment {experiment!r} at {endpoint.address}"
        )
        interrupted = False
        try:
            _loop(follower, transport, report, once=once)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            transport.stop(_LAST_ANSWERS_S)
            follower.round_ended()
            state.close()
    click.echo(progress_line(follower.totals()))
    problems = follower.problems()
    if once:
        for line in problems:
            click.echo(f"runstream: {line}", err=True)
    if interrupted:
        return 130 if once else 0
    return int(once and bool(problems or follower.totals().refused))


def _loop(follower: Follower, transport: Transport, report: ConsoleReport, *, once: bool) -> None:
    refused_since_s: float | None = None
    while True:
        try:
            follower.run_once()
        except OSError as error:  # such as a full disk: everything waits in the event files
            if once:
                raise
            report.warn(f"cannot continue at the moment, trying again: {error}", "round")
        report.show(follower.totals())
        if once:
            if follower.done:
                return
            refusal = _refusal(transport)
            refused_since_s = (refused_since_s or time.monotonic()) if refusal else None
            if refused_since_s is not None and time.monotonic() - refused_since_s > _STUCK_S:
                raise ValueError(f"the service refuses what is sent: {refusal}")
        time.sleep(_ROUND_ONCE_S if once else _ROUND_S)


def _refusal(transport: Transport) -> str:
    """The last error, if the service refuses everything; else empty."""
    feeds = transport.feeds()
    if not feeds or not all(feed.is_refused or feed.calls.state == "refused" for feed in feeds):
        return ""
    return next((feed.notices.last_error for feed in feeds if feed.notices.last_error), "without a reason")


def _exists(client: object, run_id: str) -> bool:
    import runstream

    assert isinstance(client, runstream.Client)
    try:
        client.get_run(run_id)
    except runstream.NotFound:
        return False
    return True


def _end_as_with_ctrl_c() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _show_plan(logdir: Path, layout: Layout) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from runstream.tensorboard.dry_run import plan

    made = plan(logdir, layout)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", overflow="fold")
    for column in ("rank", "files", "points", "params"):
        table.add_column(column, justify="right")
    table.add_column("keys", overflow="fold")
    for one in made.found:
        keys = sorted(one.keys)
        shown = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
        counts = (str(one.rank), f"{one.files:,}", f"{one.points:,}", f"{len(one.params):,}")
        table.add_row(one.run, *counts, shown)
    console = Console()
    console.print(table, markup=False) if made.found else console.print("no scalars or hyperparameters")
    for problem in made.problems:
        click.echo(f"runstream: {problem}", err=True)
    sys.exit(1 if made.problems else 0)
