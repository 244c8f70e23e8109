"""Columns that rows of runs, experiments and models share: params and tags as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg


def params_of(row: asyncpg.Record) -> dict[str, str]:
    """The params of a row, as a dict."""
    return dict(zip(row["param_keys"], row["param_values"], strict=True))


def tags_of(row: asyncpg.Record) -> dict[str, str]:
    """The tags of a row, as a dict."""
    return dict(zip(row["tag_keys"], row["tag_values"], strict=True))
