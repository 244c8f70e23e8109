"""Bounds and times of a transport."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Times are in seconds, sizes in bytes."""

    buffer_bytes: int = 8 * 1024 * 1024  # batches of all journals that were read and are not acknowledged
    journal_bytes: int = 2 * 1024 * 1024  # the same of one journal; beyond it nothing more is read of it
    journal_least_bytes: int = 64 * 1024  # how much each journal may always have, however many there are
    call_bytes: int = 1024 * 1024  # params and tags of one journal that wait
    in_flight_bytes: int = 1024 * 1024  # of one producer: sent and not acknowledged
    in_flight_total_bytes: int = 4 * 1024 * 1024
    message_bytes: int = 1_000_000  # of one message; the service accepts 1 MiB
    message_batches: int = 1_024  # as many as the service accepts in one message
    small_message_bytes: int = 128 * 1024  # less than this is not sent while every producer has batches in flight
    callers: int = 8  # unary calls of one endpoint at a time
    call_timeout_s: float = 15.0  # deadline of one unary call; it is repeated
    earlier_steps_timeout_s: float = 5.0
    open_timeout_s: float = 30.0  # a stream or producer that is not answered within this time is given up
    backoff_first_s: float = 0.1
    backoff_max_s: float = 5.0  # this short is enough, as there is only one connection per node
    backoff_protocol_s: float = 60.0  # after an error that a retry alone will not cure
    database_away_s: float = 5.0  # the longest wait while the database is unavailable
    poll_s: float = 0.02  # how often to check whether writers have rung the directory's bell
    scan_s: float = 1.0  # how often to read all journals even if nobody has rung it
    save_s: float = 0.02  # save a position at most this often
    save_busy_s: float = 0.2  # the same while records of its journal are unsettled
    linger_s: float = 2.0  # keep a journal for this long after its end is answered, so that its writer can read that
