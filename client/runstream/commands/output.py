"""How commands show rows: a table for people, JSON (one object a line) or CSV for programs."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

STATUS_STYLES = {"RUNNING": "cyan", "SCHEDULED": "blue", "FINISHED": "green", "FAILED": "red", "KILLED": "yellow"}
_ANY_WIDTH = 100_000  # into a pipe, nothing is cut off
_GAP = 2  # between columns
_LEAST_TEXT, _LEAST_NAME = 6, 12  # a text, and the name of its column, are never cut to fewer characters
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


class Column(NamedTuple):
    """A column of a table. `shown` turns a value into text for people; None becomes an empty text. `style` is one of
    rich's, or a function of the value.

    On a narrow terminal, long texts are cut; numbers, ids and times never are, as a part of them would be misleading.
    """

    name: str
    is_number: bool = False
    shown: Callable[[Any], str] = str
    style: str | Callable[[Any], str] = ""
    wraps: bool = False  # a long text is continued on the next line
    is_whole: bool = False  # a text that is never cut


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --json and --csv, as the parameter `form`: table, json or csv."""
    as_json = click.option("--json", "form", flag_value="json", help="One JSON object a line.")
    as_csv = click.option("--csv", "form", flag_value="csv", help="CSV with a header.")
    return as_json(as_csv(click.option("--table", "form", flag_value="table", default="table", hidden=True)(command)))


def show_rows(form: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]], *, empty: str = "") -> None:
    """Prints rows in one of the three forms. `empty` is printed instead of a table without rows."""
    if form == "json":
        for row in rows:
            click.echo(to_json({column.name: value for column, value in zip(columns, row, strict=True)}))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([column.name for column in columns])
        writer.writerows(rows)
    else:
        shown = list(rows)
        if shown or not empty:
            console().print(table(columns, shown))
        else:
            click.echo(empty)


def table(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Table:
    """A table in the style of all commands, not wider than the terminal. Columns that do not fit are named below it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [[_cell(column, value) for column, value in zip(columns, row, strict=True)] for row in rows]
    texts = ([column.name, *(row[at][0] for row in cells)] for at, column in enumerate(columns))
    widths = fitted(columns, [max(map(_width, one)) for one in texts], console().width)
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for column, width in zip(columns, widths, strict=False):
        made.add_column(
            column.name,
            justify="right" if column.is_number else "left",
            no_wrap=not column.wraps,
            overflow="fold" if column.wraps else "ellipsis",
            width=width,
        )
    for row in cells:
        made.add_row(*(Text(*cell) for cell in row[: len(widths)]))
    if left_out := [column.name for column in columns[len(widths) :]]:
        made.caption = Text(f"no room for {', '.join(left_out)}: widen the terminal, or use --json", "dim")
        made.caption_justify = "left"
    return made


def fitted(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    """The widths of the columns that fit, at least of one. The widest texts are cut first, so that short ones stay
    whole."""
    widths = [min(width, room) for width in widths]  # so that a text of a million characters takes no time below
    fit = list(widths)
    shrinking = [at for at, column in enumerate(columns) if not (column.is_number or column.is_whole)]
    least = [max(_LEAST_TEXT, min(_width(column.name), _LEAST_NAME)) for column in columns]
    while True:
        excess = sum(fit) + _GAP * (len(fit) - 1) - room
        if excess <= 0:
            return fit
        too_wide = [at for at in shrinking if at < len(fit) and fit[at] > least[at]]
        if too_wide:
            fit[max(too_wide, key=fit.__getitem__)] -= 1
        elif len(fit) > 1:
            fit = list(widths[: len(fit) - 1])
        else:
            return [room]


def _width(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.split("\n")))


def _cell(column: Column, value: Any) -> tuple[str, str]:
    if value is None:
        return "", ""
    shown = column.shown(value)
    # A value may contain anything, even characters that move the cursor of a terminal.
    text = shown if shown.isprintable() else "".join(ch if ch.isprintable() or ch == "\n" else "\ufffd" for ch in shown)
    style = column.style(value) if callable(column.style) else column.style
    return (text if column.wraps else text.replace("\n", " ")), style


def console() -> Console:
    """A console that writes colours only to a terminal, and lines of any length elsewhere."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _ANY_WIDTH)


def print_all(*parts: RenderableType) -> None:
    """Prints parts below each other, with an empty line between them."""
    on = console()
    for at, part in enumerate(parts):
        if at:
            on.print()
        on.print(part)


def to_json(record: Any) -> str:
    """A record as JSON. NaN and infinities, which JSON does not have, become texts, as in protobuf's JSON."""
    return json.dumps(_plain(record), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def short_id(run_id: str) -> str:
    """The beginning of a run's id, which people recognise and commands accept; "?" without an id."""
    return run_id[:8] or "?"


def status_style(status: str) -> str:
    """The colour of a run's status."""
    return STATUS_STYLES.get(status, "")


def number(value: float) -> str:
    """A value of a metric as text, about six characters long."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """A duration in its two largest units, such as 2 h 5 min."""
    if isinstance(seconds, float) and 0 < seconds < 10:
        return f"{seconds:.1f} s"
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in _UNITS:
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


def ago(unix_us: int) -> str:
    """How long ago a time was, in the largest unit, such as 3 h ago."""
    seconds = time.time() - unix_us / 1e6
    words = duration(max(0, int(seconds))).split()
    return f"{words[0]} {words[1]} ago"


def utc(unix_us: int) -> str:
    """A time in ISO 8601, in UTC, to the millisecond."""
    from datetime import datetime, timedelta, timezone

    at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=unix_us)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(unix_us: int) -> str:
    """A time in the local time zone, to the second."""
    from datetime import datetime

    try:
        return f"{datetime.fromtimestamp(unix_us / 1e6):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # beyond the range of the system's clock
        return utc(unix_us)


def terminal_width() -> int:
    """The number of columns of the terminal; 80 elsewhere."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
