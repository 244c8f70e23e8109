"""Writes the tables into a page, between their marks: the words around them are written by people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from runstream_bench.durability.cells import Result
from runstream_bench.durability.report import COLUMNS, Report, brief, date, machine, row
from runstream_bench.durability.scenarios import ALL

_MARK = "<!-- {0}: written by runstream bench --durability --write -->\n"
_END = "<!-- end of {0} -->\n"


def write_tables(path: Path, report: Report) -> None:
    """Replaces those that the page has marks for, and leaves the tables of scenarios and trackers that were not run; a
    page that does not exist gets all of them.

    Raises:
        OSError: it cannot be read or written.
    """
    if not path.exists():
        path.write_text("".join(f"## {name}\n\n{_marked(name, text)}\n" for name, text in tables(report)))
        return
    page = path.read_text()
    for name, text in tables(report):
        between = re.escape(_MARK.format(name)) + ".*?" + re.escape(_END.format(name))
        page = re.sub(between, lambda _, name=name, text=text: _marked(name, text), page, flags=re.DOTALL)  # type: ignore[misc]
    path.write_text(page)


def tables(report: Report) -> Iterator[tuple[str, str]]:
    """The names of the tables, and their Markdown."""
    yield "when", f"{date()}, on {machine()}.{_scaled(report.scale)}\n"
    yield "trackers", _table(("", "configured as", "versions"), _trackers(report))
    yield "overview", _overview(report)
    for scenario, results in report.by_scenario():
        rows = [[result.tracker, *row(result)] for result in results]
        yield scenario, _table(("", *COLUMNS), rows) + "".join(_errors(results))


def _scaled(scale: float) -> str:
    return "" if scale == 1 else f" All times are multiplied by {scale:g}."


def _trackers(report: Report) -> Iterator[Sequence[str]]:
    for tracker in report.trackers:
        yield tracker.name, tracker.what, tracker.versions()
    for name, why in report.missing.items():
        yield name, "not compared, as it cannot be installed here", why


def _overview(report: Report) -> str:
    """The table of what went wrong: a row for each tracker, a column for each scenario."""
    found = {(result.scenario, result.tracker): brief(result) for result in report.results}
    scenarios = [ALL[name] for name, _ in report.by_scenario()]
    rows = []
    for tracker in report.trackers:
        cells = [
            found.get((scenario.name, tracker.name), "not measured" if scenario.suits(tracker) else "–")
            for scenario in scenarios
        ]
        rows.append([tracker.name, *(cell.replace("all there", "✓") for cell in cells)])
    return _table(("", *(scenario.name for scenario in scenarios)), rows)


def _errors(results: Sequence[Result]) -> Iterator[str]:
    """What the numbers do not say, in a paragraph each."""
    for result in results:
        if result.told:
            yield f"\n{result.tracker}: at its end, the script was told of {result.told:,} calls that had failed.\n"
        for error, times in list(result.errors.items())[:1]:
            yield f"\n{result.tracker}, {times} times: `{error.replace('`', '')[:200]}`\n"
        if result.remark:
            yield f"\n{result.tracker}: {result.remark}.\n"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |" for cells in rows]
    return "\n".join(lines) + "\n"


def _marked(name: str, text: str) -> str:
    return f"{_MARK.format(name)}\n{text}\n{_END.format(name)}"
