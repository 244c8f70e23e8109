"""Subcommands about runs and experiments: ls, show, compare, open, delete, restore, mv, retention."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from runstream.commands.failures import in_one_line
from runstream.commands.find import (
    find_experiment,
    find_run,
    find_runs,
    link_to,
    open_client,
)
from runstream.commands.options import address_option
from runstream.commands.output import (
    Column,
    ago,
    duration,
    local,
    number,
    output_options,
    print_all,
    short_id,
    show_rows,
    status_style,
    table,
    to_json,
)

if TYPE_CHECKING:
    import runstream

_LONG_NUMBER = 12  # characters
_OUTPUT = "runstream.output"  # a tag of `runstream exec`: a page of text


@click.command()
@click.argument("experiment", required=False)
@click.option("--filter", "filter_", help="Only runs that match: metrics.loss < 0.1 AND params.lr = '0.01'.")
@click.option("--order-by", "order_by", multiple=True, help="For example: metrics.loss ASC; may be repeated.")
@click.option("-m", "--metric", "metrics", multiple=True, help="A column with its latest value; may be repeated.")
@click.option("-p", "--param", "params", multiple=True, help="A column with its value; may be repeated.")
@click.option("--deleted", is_flag=True, help="Deleted runs instead of active ones.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The most rows.")
@output_options
@address_option
def ls(
    experiment: str | None,
    filter_: str | None,
    order_by: tuple[str, ...],
    metrics: tuple[str, ...],
    params: tuple[str, ...],
    deleted: bool,
    limit: int,
    form: str,
    address: str | None,
) -> None:
    """List the runs of EXPERIMENT, or those that match, newest first; without both, the experiments."""
    with in_one_line(), open_client(address) as client:
        if experiment is None and filter_ is None and not deleted and not order_by:
            _list_experiments(client, limit, form)
            return
        where = None if experiment is None else find_experiment(client, experiment).experiment_id
        found = client.search_runs(filter_ or "", order_by=order_by, experiment=where, deleted=deleted, limit=limit)
        latest = _latest_values(client, [run.run_id for run in found], metrics) if metrics and found else {}
        columns = [
            Column("run_id", shown=short_id if form == "table" else str, style="bold", is_whole=True),
            *([] if experiment is not None else [Column("experiment")]),
            Column("name"),
            Column("status", style=status_style, is_whole=True),
            *_times(form),
            *(Column(key, is_number=True, shown=number) for key in metrics),
            *(Column(key, shown=_param) for key in params),
        ]
        rows = [
            [
                run.run_id,
                *([] if experiment is not None else [run.experiment]),
                run.name,
                run.status,
                *_times_of(run, form),
                *(latest.get((run.run_id, key)) for key in metrics),
                *(run.params.get(key) for key in params),
            ]
            for run in found
        ]
        show_rows(form, columns, rows, empty="no runs")
        if len(found) == limit and form == "table" and sys.stdout.isatty():
            click.echo(f"the first {limit}; --limit shows more", err=True)


def _list_experiments(client: runstream.Client, limit: int, form: str) -> None:
    rows = [
        (one.name, one.experiment_id, one.created_unix_us, one.retention_days)
        for one in client.list_experiments(limit=limit)
    ]
    columns = (
        Column("experiment" if form == "table" else "name", style="bold"),
        Column("id" if form == "table" else "experiment_id", is_number=True),
        Column("created" if form == "table" else "created_unix_us", is_number=True, shown=ago),
        Column("kept" if form == "table" else "retention_days", shown=lambda days: f"{days} days", is_whole=True),
    )
    show_rows(form, columns, rows, empty="no experiments")


def _times(form: str) -> list[Column]:
    if form != "table":
        return [Column("start_time_unix_us"), Column("end_time_unix_us")]
    return [Column("started", is_number=True, shown=ago), Column("took", is_number=True, shown=duration)]


def _times_of(run: runstream.RunInfo, form: str) -> list[Any]:
    if form != "table":
        return [run.start_time_unix_us, run.end_time_unix_us]
    return [run.start_time_unix_us, _seconds(run)]


def _seconds(run: runstream.RunInfo) -> float:
    end_s = time.time() if run.end_time_unix_us is None else run.end_time_unix_us / 1e6
    return end_s - run.start_time_unix_us / 1e6


def _latest_values(
    client: runstream.Client, run_ids: Sequence[str], keys: Iterable[str] | None
) -> dict[tuple[str, str], float]:
    """The latest value of the lowest rank, of its newest attempt, by run and key."""
    found: dict[tuple[str, str], tuple[int, int, float]] = {}
    for point in client.latest(run_ids, keys):
        place = (-point.rank, point.attempt, point.value)
        if place[:2] >= found.get((point.run_id, point.key), (-sys.maxsize, 0, 0.0))[:2]:
            found[point.run_id, point.key] = place
    return {key: value for key, (_, _, value) in found.items()}


@click.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@address_option
def show(run: str, as_json: bool, address: str | None) -> None:
    """Show RUN: its state, the latest value of each metric, params, tags, and the end of its output."""
    with in_one_line(), open_client(address) as client:
        found = client.get_run(find_run(client, run))
        latest = client.latest(found.run_id)
        link = link_to(client, found.run_id)
        if as_json:
            points = [point._asdict() for point in latest]
            click.echo(to_json({**vars(found), "link": link, "latest": points}))
            return
        _print_run(found, latest, link)


def _print_run(run: runstream.RunInfo, latest: Sequence[runstream.LatestPoint], link: str) -> None:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    ended = "" if run.end_time_unix_us is None else f", ended {ago(run.end_time_unix_us)}"
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    status = Text(run.status, style=status_style(run.status)).append(" (deleted)" if run.deleted else "", "red")
    for name, value in (
        ("run", Text(run.run_id, style="bold")),
        ("status", status.append(f" after {duration(_seconds(run))}{ended}", "dim")),
        ("started", Text(local(run.start_time_unix_us)).append(f" by {run.user}" if run.user else "")),
        ("page", Text(link, style="underline blue")),
    ):
        facts.add_row(name, value)
    parts: list[Any] = [Group(Text(f"{run.experiment} / {run.name}", style="bold cyan"), facts)]
    tags = {key: value for key, value in run.tags.items() if key != _OUTPUT}
    if latest:
        parts.append(table(_LATEST, _latest_rows(latest)))
    for what, entries in (("param", run.params), ("tag", tags)):
        if entries:
            parts.append(table((Column(what, style="bold"), Column("value", wraps=True)), sorted(entries.items())))
    if _OUTPUT in run.tags:
        parts.append(Group(Text("the end of its output", style="dim"), Text.from_ansi(run.tags[_OUTPUT])))
    print_all(*parts)


_LATEST = (
    Column("metric", style="bold"),
    Column("step", is_number=True, shown="{:,}".format),
    Column("latest", is_number=True, shown=number),
    Column("ranks", is_number=True),
    Column("min", is_number=True, shown=number),
    Column("max", is_number=True, shown=number),
)


def _latest_rows(latest: Sequence[runstream.LatestPoint]) -> list[list[Any]]:
    """A row per key: the latest point of the lowest rank, and the range over all ranks."""
    by_key: dict[str, dict[int, runstream.LatestPoint]] = {}
    for point in latest:
        ranks = by_key.setdefault(point.key, {})
        if point.rank not in ranks or point.attempt >= ranks[point.rank].attempt:
            ranks[point.rank] = point
    rows = []
    for key in sorted(by_key):
        ranks = by_key[key]
        first = ranks[min(ranks)]
        values = [point.value for point in ranks.values()]
        spread = [len(ranks), min(values), max(values)] if len(ranks) > 1 else [None] * 3
        rows.append([key, first.step, first.value, *spread])
    return rows


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN ...")
@click.option("--all", "everything", is_flag=True, help="Also what is the same in all of them.")
@output_options
@address_option
def compare(runs: tuple[str, ...], everything: bool, form: str, address: str | None) -> None:
    """Show where RUNs differ: params, tags, and the latest values of their metrics."""
    if len(runs) < 2:
        raise click.UsageError("name at least two runs")
    with in_one_line(), open_client(address) as client:
        found = [client.get_run(run_id) for run_id in find_runs(client, runs)]
        latest = _latest_values(client, [run.run_id for run in found], None)
        rows = list(_differences(found, latest, everything=everything))
        names = [short_id(run.run_id) if form == "table" else run.run_id for run in found]
        columns = [Column("what", style="dim", is_whole=True), Column("key", style="bold")]
        columns += [Column(name, shown=_value, wraps=True) for name in names]
        show_rows(form, columns, rows, empty="they are the same")


def _differences(
    runs: Sequence[runstream.RunInfo], latest: dict[tuple[str, str], float], *, everything: bool
) -> Iterable[list[Any]]:
    yield ["run", "name", *(run.name for run in runs)]
    yield ["run", "status", *(run.status for run in runs)]
    yield ["run", "took", *(duration(_seconds(run)) for run in runs)]
    for key in sorted({key for _, key in latest}):
        yield ["metric", key, *(latest.get((run.run_id, key)) for run in runs)]
    for what in ("param", "tag"):
        entries = [run.params if what == "param" else run.tags for run in runs]
        for key in sorted({key for one in entries for key in one} - {_OUTPUT}):
            values = [one.get(key) for one in entries]
            if everything or len(set(values)) > 1:
                yield [what, key, *values]


def _param(value: str) -> str:
    """A param as text; a number with many digits, such as 0.0012589254117941675, is shortened."""
    try:
        return number(float(value)) if len(value) > _LONG_NUMBER else value
    except ValueError:
        return value


def _value(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


@click.command("open")
@click.argument("run")
@click.option("--print", "only_print", is_flag=True, help="Print the link, and open nothing.")
@address_option
def open_page(run: str, only_print: bool, address: str | None) -> None:
    """Open the page of RUN in the browser, and print its link."""
    with in_one_line(), open_client(address) as client:
        link = link_to(client, client.get_run(find_run(client, run)).run_id)
        click.echo(link)
        if sys.stdout.isatty() and not only_print:
            click.launch(link)


@click.command()
@click.argument("run")
@click.option("--key", "keys", multiple=True, help="Delete only this metric, for good; may be repeated.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@address_option
def delete(run: str, keys: tuple[str, ...], yes: bool, address: str | None) -> None:
    """Delete RUN, which `runstream restore` undoes; or single metrics of it, of all ranks, for good."""
    with in_one_line(), open_client(address) as client:
        found = client.get_run(find_run(client, run))
        what = f"{', '.join(keys)} of run {found.name!r} for good" if keys else f"run {found.name!r}"
        if not yes:
            click.confirm(f"Delete {what}?", abort=True, err=True)
        if keys:
            count = client.delete_series(found.run_id, keys)
            click.echo(f"deleted {count} series of run {found.name!r}")
        else:
            client.delete_run(found.run_id)
            click.echo(f"deleted run {found.name!r}; to undo that: runstream restore {short_id(found.run_id)}")


@click.command()
@click.argument("run")
@address_option
def restore(run: str, address: str | None) -> None:
    """Restore RUN, which was deleted."""
    with in_one_line(), open_client(address) as client:
        run_id = find_run(client, run, deleted=True)
        client.restore_run(run_id)
        click.echo(f"restored run {client.get_run(run_id).name!r}")


@click.command("mv")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.argument("experiment")
@click.option("--create", is_flag=True, help="Create EXPERIMENT if there is none of this name.")
@address_option
def move(runs: tuple[str, ...], experiment: str, create: bool, address: str | None) -> None:
    """Move RUN to EXPERIMENT, with its points, params, tags and models; its files keep their place."""
    with in_one_line(), open_client(address) as client:
        run_ids = find_runs(client, runs)
        hint = "--create makes it, `runstream ls` lists the others"
        where: str | int = experiment if create else find_experiment(client, experiment, hint).experiment_id
        for run_id in run_ids:
            moved = client.move_run(run_id, where, create=create)
            click.echo(f"run {moved.name!r} ({short_id(run_id)}) is in experiment {moved.experiment!r}")


@click.command()
@click.argument("experiment")
@click.option("--days", type=click.IntRange(1, 36_500), help="Delete points that are older than this many days.")
@click.option("--forever", is_flag=True, help="Keep all points.")
@address_option
def retention(experiment: str, days: int | None, forever: bool, address: str | None) -> None:
    """Set how long the points of EXPERIMENT are kept."""
    if (days is None) != forever:
        raise click.UsageError("use either --days or --forever")
    with in_one_line(), open_client(address) as client:
        client.set_retention(experiment, days)
        kept = f"{days} days" if days else "forever"
        click.echo(f"points of experiment {experiment!r} are kept {kept}")
