"""Subcommands for the journals of a training machine: agent, agent status, sync. `runstream.agent` does the work; this
adds options, tables and a progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runstream._sizes import shown_bytes
from runstream.commands.failures import fail
from runstream.commands.output import Column, console, short_id, table
from runstream.commands.server import from_server

if TYPE_CHECKING:
    from rich.console import Console

    from runstream.agent.process import Companion
    from runstream.agent.status import DirectoryStatus, JournalStatus
    from runstream.agent.sync import Result
    from runstream.journal import Directory

_dir_option = click.option(
    "--dir",
    "directory",
    default="",
    help="The directory with the journals.  [default: RUNSTREAM_DIR, else the one that a training process here uses]",
)


@click.group(invoke_without_command=True)
@_dir_option
@click.option(
    "--stay", is_flag=True, help="Do not end when nothing is left to do: for systemd, a sidecar, a DaemonSet."
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="After SIGTERM, how long to continue while something is left to send. A second signal ends it at once.",
)
@click.option(
    "--mlflow-listen",
    metavar="HOST:PORT",
    envvar="RUNSTREAM_MLFLOW_LISTEN",
    show_envvar=True,
    default="",
    help="Serve MLflow's tracking API there, for scripts on this machine, such as 127.0.0.1:5000. Includes --stay.",
)
@click.option(
    "--address",
    envvar="RUNSTREAM_ADDRESS",
    show_envvar=True,
    default="",
    help="For --mlflow-listen: where the service is.  [default: that of the login, else 127.0.0.1:50051]",
)
@click.option(
    "--http",
    envvar="RUNSTREAM_MLFLOW_HTTP_ADDRESS",
    show_envvar=True,
    default="",
    help="For --mlflow-listen: where the service serves MLflow's API.  [default: the host of --address, port 5000]",
)
@click.pass_context
def agent(
    context: click.Context, directory: str, stay: bool, grace: float, mlflow_listen: str, address: str, http: str
) -> None:
    """Send the journals of this machine to the service, in the foreground.

    Training processes start an agent themselves when none runs. Start one yourself where they cannot, or where the
    processes that they start end with them (containers, Slurm steps).
    """
    context.obj = directory
    if context.invoked_subcommand is None:
        from runstream.agent.console import run_agent

        companion = _mlflow_port(mlflow_listen, address, http) if mlflow_listen else None
        sys.exit(run_agent(directory, stay=stay or bool(mlflow_listen), companion=companion, grace_s=grace))


def _mlflow_port(listen: str, address: str, http: str) -> Callable[[Directory], Companion]:
    """Returns a function with which the agent opens the port for MLflow, once it has its directory. The port is a part
    of the server's distribution."""
    port = from_server("mlflow_port.command")
    try:
        companion: Callable[[Directory], Companion] = port.prepare(listen, address, http)
    except ValueError as error:
        fail(str(error), 2)
    return companion


@agent.command()
@_dir_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
@click.pass_context
def status(context: click.Context, directory: str, as_json: bool) -> None:
    """Show the journals, what waits in them, and what the service has answered. Works without an agent."""
    from runstream.agent.status import read_status

    found = read_status(_directory(directory or context.obj))
    if as_json:
        click.echo(found.as_json())
        return
    _show(found)


def _directory(named: str) -> Directory:
    from runstream.journal import Directory

    try:
        return Directory(Path(named)) if named else Directory.choose()
    except OSError as error:
        fail(str(error))
        raise


def _show(status: DirectoryStatus) -> None:
    on = console()
    on.print(f"{status.path}  {shown_bytes(status.total_bytes)} of {shown_bytes(status.limit_bytes)}")
    on.print(_agent_line(status))
    addresses = status.agent.get("addresses", {}) if status.agent_runs else {}
    if addresses:
        columns = (
            Column("service"),
            Column("stream", is_whole=True),
            Column("points/s", is_number=True, shown="{:,.0f}".format),
            Column("acknowledged", is_number=True, shown="{:,}".format),
        )
        rows = [
            (address, one["state"], one["points_per_s"], one["acknowledged_points"])
            for address, one in addresses.items()
        ]
        on.print()
        on.print(table(columns, rows))
        _show_errors(on, [(address, one["last_error"]) for address, one in addresses.items()])
    _show_journals(on, status.journals)


def _show_errors(console: Console, errors: Iterable[tuple[str, str]]) -> None:
    """Prints each error once, with the names that have it: if the service is away, all journals have the same."""
    names: dict[str, list[str]] = {}
    for name, text in errors:
        if text:
            names.setdefault(text, []).append(name)
    for text, whose in names.items():
        more = f" and {len(whose) - 3} more" if len(whose) > 3 else ""
        console.print(f"{', '.join(whose[:3])}{more}: {text}", markup=False)


def _agent_line(status: DirectoryStatus) -> str:
    if not status.agent_runs:
        return "no agent runs: start one with `runstream agent`; the next training process here starts one as well"
    since = (time.time_ns() // 1000 - int(status.agent.get("started_unix_us", 0))) / 1e6
    stays = ", stays" if status.agent.get("stays") else ""
    return f"the agent runs (pid {status.agent_pid}, version {status.agent.get('version')}, {since:,.0f} s{stays})"


def _show_journals(console: Console, journals: list[JournalStatus]) -> None:
    if not journals:
        console.print("no journals: nothing waits")
        return
    columns = (
        Column("run", style="bold", is_whole=True),
        Column("name"),
        Column("rank", is_number=True),
        Column("writer", is_whole=True),
        Column("run is", wraps=True),
        Column("waiting", is_number=True),
        Column("stored", is_number=True),
        Column("refused", wraps=True),
        Column("size", is_number=True),
    )
    rows = [
        [
            short_id(one.run_id),
            one.run_name,
            one.rank,
            one.writer,
            one.run_state or "not created",
            f"{one.points_waiting:,}",
            f"{one.acknowledged_points:,}",
            ", ".join(f"{count:,} {reason}" for reason, count in sorted(one.refused.items())) or "0",
            shown_bytes(one.bytes),
        ]
        for one in journals
    ]
    console.print()
    console.print(table(columns, rows))
    _show_errors(
        console, [(f"run {short_id(one.run_id)} rank {one.rank}", one.problem or one.last_error) for one in journals]
    )


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--address", default="", help="Send to this service, instead of the ones that the journals name.")
@click.option("--check", is_flag=True, help="Only verify checksums, and show what the journals contain.")
def sync(path: Path, address: str, check: bool) -> None:
    """Send what is left in the journals below DIR: a directory of runstream, a single journal, or a copy of one.

    Points that were sent from another copy already are recognised, and stored once. Nothing is deleted. Exit code 1:
    something is damaged, was refused, or is left.
    """
    from runstream.agent.sync import CannotSync

    try:
        if check:
            _check(path)
            return
        result = _sync(path, address)
    except CannotSync as error:
        fail(str(error))
        return
    for line in result.lines():
        click.echo(line)
    sys.exit(0 if result.ok else 1)


def _sync(path: Path, address: str) -> Result:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from runstream.agent.sync import sync as send

    columns = (TextColumn("points"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("points", total=None)
        return send(path, address, progress=lambda done, total: bar.update(task, completed=done, total=total))


def _check(path: Path) -> None:
    from runstream.agent.status import journal_status
    from runstream.agent.sync import check_path

    found = check_path(path)
    on = console()
    columns = (
        Column("run", style="bold", is_whole=True),
        Column("name"),
        Column("rank", is_number=True),
        Column("writer", is_whole=True),
        *(Column(name, is_number=True, shown="{:,}".format) for name in ("records", "points", "waiting")),
    )
    rows = []
    for one in found:
        shown = journal_status(one)
        of_run = (short_id(shown.run_id), shown.run_name, one.rank, shown.writer)
        rows.append((*of_run, one.records, one.points, one.waiting_points))
    on.print(table(columns, rows))
    _show_errors(on, [(str(one.path), journal_status(one).problem) for one in found])
    for one in found:
        for text in journal_status(one).damage:
            on.print(f"{one.path}: {text}")
    sys.exit(1 if any(one.is_damaged or not one.create for one in found) else 0)
