"""What `Run.stats()` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class RunStats(NamedTuple):
    """The counters of one run handle in this process.

    `logged == waiting + on_disk + acknowledged + sum(refused.values())` at any moment.
    """

    logged: int
    """Points that were passed to log(), in any form."""
    waiting: int
    """Points in memory, which the service has not answered yet."""
    on_disk: int
    """Points in the journal that the service has not answered yet. They reach it even if this process dies."""
    acknowledged: int
    """Points that the service has committed."""
    refused: Mapping[str, int]
    """Points that will not be stored, by reason.

    Refused in this process: bad_value, bad_step, bad_time, not_ready (its device had not computed the value half an
    hour later, or when the run ended), not_a_mapping, key_not_a_string, key_empty, key_too_long, key_control_character,
    key_not_utf8, too_many_series; buffer_full (the disk accepts nothing, or less than is logged); journal_full (the
    directory has reached RUNSTREAM_DIR_BYTES); journal_deleted (somebody has deleted the journal); finished (logged
    after finish()); not_sent (left in memory when finish() ran out of time); unacknowledged (left in memory and sent:
    the service may have stored them); no_threads (none could be started); recorder_died, log_failed (bugs). Refused by
    the service: run_deleted, and the names of RefusalReason in proto/, in lower case.
    """
    buffered_bytes: int
    """Bytes that the waiting points take; an estimate for those that are not packed yet."""
    lost_acknowledged: int
    """Points that were acknowledged and are gone, because the service's database was restored to an older state."""
    pending_calls: int
    """How many params, tags and ends of the run the service has not answered yet."""
    connected: bool
    """Whether the agent has a connection to the service."""
    reconnects: int
    """How often the agent has opened a stream again after the first."""
    series: int
    """How many different metric keys were logged."""
    last_error: str
    """The last error of disk or connection; empty if there was none."""
    journal: str
    """Where points are recorded: "disk"; "memory", while the disk cannot be used; "full", while the directory has
    reached its limit; "disabled"."""
    journal_path: str
    """The directory of this handle's journal; while it has none, that of all journals; empty if neither exists."""
