"""Sizes as people read them."""

from __future__ import annotations


def shown_bytes(count: float) -> str:
    """A number of bytes in its largest unit up to GiB: 512 B, 1.5 KiB, 10.0 GiB."""
    if count < 1024:
        return f"{count:,.0f} B"
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1024:
            return f"{count:,.1f} {unit}"
    return f"{count / 1024:,.1f} GiB"
