"""Names this process's parent uniquely in time, where the system tells."""

from __future__ import annotations

import os
from pathlib import Path


def parent_token() -> str:
    """Boot id, pid and start time of the parent process (Linux); empty elsewhere."""
    try:
        parent = os.getppid()
        # Fields after the command's closing parenthesis; the 20th of them is the start time in ticks since boot.
        started = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, IndexError):
        return ""
    return f"{boot}/{parent}/{started}"
