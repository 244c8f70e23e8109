"""Prints the status for people, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from runstream_service.status.collect import DatabaseStatus, EpochStatus, ProducerStatus, SilentProducer, Status

_INDENT = (0, 2, 0, 0)


def as_json(status: Status) -> str:
    """The status as one JSON object; times in ISO 8601, sizes in bytes, durations in seconds."""
    return json.dumps(asdict(status), default=datetime.isoformat, ensure_ascii=False)


def render(status: Status, console: Console) -> None:
    """Prints the status for people, as wide as the console."""
    console.print(Group(*_parts(status)))


def _parts(status: Status) -> Iterator[RenderableType]:
    yield _replicas(status)
    table = Table.grid(padding=_INDENT)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, text in _lines(status):
        table.add_row(name, text)
    yield table


def _replicas(status: Status) -> RenderableType:
    if status.replicas is None:
        return f"replicas {_unread(status, 'replicas')}\n"
    if not status.replicas:
        return "[yellow]no replica of the service is connected to this database[/]\n"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column("replica", overflow="fold")
    for name in ("version", "connected", "connections"):
        table.add_column(name, justify="right", no_wrap=True)
    for replica in status.replicas:
        table.add_row(
            escape(f"{replica.host}:{replica.pid}"),
            escape(replica.version),
            _span(status.at - replica.connected_since),
            str(replica.connections),
        )
    return Group(table, "")


def _lines(status: Status) -> Iterator[tuple[str, str]]:
    for name, text in (
        ("database", _database(status.database)),
        ("ingest", _ingest(status.points_last_minute)),
        ("roll-up", _behind(status.rollup_lag_points, status.rollup_lag_s)),
        ("epochs", _epochs(status, status.epoch)),
        ("stored", _stored(status)),
        ("on disk", _on_disk(status)),
        ("producers", _producers(status.producers)),
    ):
        yield name, _unread(status, name) if text is None else text
    if status.producers is not None and status.producers.silent_longest is not None:
        yield "silent longest", _silent(status, status.producers.silent_longest)


def _unread(status: Status, name: str) -> str:
    return f"[yellow]could not be read: {escape(status.unread.get(name, 'see above'))}[/]"


def _database(database: DatabaseStatus | None) -> str | None:
    if database is None:
        return None
    schema = f"schema {database.schema_version}"
    if database.schema_version != database.schema_version_known:
        schema += f" [yellow](this runstream has {database.schema_version_known})[/]"
    return (
        f"PostgreSQL {escape(database.version)}, answered in {database.answered_ms:.1f} ms; {schema}; "
        f"{database.connections} of {database.max_connections} connections; "
        f"synchronous standbys: {escape(database.synchronous_standby_names) or 'none'}"
    )


def _ingest(points: int | None) -> str | None:
    return None if points is None else f"{points / 60:,.0f} points/s in the last minute"


def _behind(points: int | None, age_s: float | None) -> str | None:
    if points is None or age_s is None:
        return None
    return f"{points:,} points wait, the oldest for {_span(timedelta(seconds=age_s))}" if points else "nothing waits"


def _epochs(status: Status, epoch: EpochStatus | None) -> str | None:
    if epoch is None:
        return None
    return (
        f"{epoch.open:,} is open for {_span(status.at - epoch.opened_at)} with {epoch.points:,} points; "
        f"visible to {epoch.visible:,}, dropped to {epoch.dropped:,}"
    )


def _stored(status: Status) -> str | None:
    if status.points_stored is None:
        return None
    return f"{'' if status.points_exact else 'about '}{status.points_stored:,} points"


def _on_disk(status: Status) -> str | None:
    if status.database_bytes is None or status.segments_bytes is None or status.hot_bytes is None:
        return None
    parts = f"segments {_size(status.segments_bytes)}, hot batches {_size(status.hot_bytes)}"
    text = f"{_size(status.database_bytes)}: {parts}"
    if status.disk is not None:
        text += f"; {_size(status.disk.free_bytes)} of {_size(status.disk.total_bytes)} free"
    return text


def _producers(producers: ProducerStatus | None) -> str | None:
    if producers is None:
        return None
    return (
        f"{producers.producers:,} ranks of {producers.runs:,} running runs; "
        f"{producers.heard:,} committed in the last minute"
    )


def _silent(status: Status, producer: SilentProducer) -> str:
    silent = _span(timedelta(seconds=producer.silent_s))
    return (
        f"rank {producer.rank} of run {escape(repr(producer.run_name))} in {escape(repr(producer.experiment))}: "
        f"{silent}, stream opened {_span(status.at - producer.opened_at)} ago ({producer.run_id})"
    )


def _span(span: timedelta) -> str:
    """A duration in its two largest units, such as 2 h 5 min."""
    left = max(0, round(span.total_seconds()))
    parts: list[str] = []
    for name, seconds in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count or parts:
            parts.append(f"{count} {name}" if count else "")
    return " ".join(filter(None, parts[:2])) or "0 s"


def _size(size: int) -> str:
    """A size in decimal units (powers of 1,000)."""
    number, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 999.5:
            break
        number, unit = number / 1_000, larger
    return f"{number:,.0f} {unit}" if number >= 99.5 or unit == "B" else f"{number:.1f} {unit}"
