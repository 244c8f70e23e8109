"""Bounds and times of a transport."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Times are in seconds, sizes in bytes."""

    buffer_bytes: int = 8 * 1024 * 1024  # batches of all journals that were read and are not acknowledged
    journal_bytes: int = 2 * 1024 * 1024  # of one journal; beyond it nothing more is read of it
    journal_least_bytes: int = 64 * 1024  # what each journal may have, however many there are
    call_bytes: int = 1024 * 1024  # params and tags of one journal that wait
    in_flight_bytes: int = 1024 * 1024  # of one producer: sent and not acknowledged
    in_flight_total_bytes: int = 4 * 1024 * 1024
    message_bytes: int = 1_000_000  # of one message; the service takes 1 MiB
    message_batches: int = 1_024  # as many as the service takes in one message
    small_message_bytes: int = 128 * 1024  # a smaller one is not sent while everything in it has something in flight
    callers: int = 8  # unary calls of one address at a time
    call_timeout_s: float = 15.0  # deadline of one unary call; it is repeated
    earlier_steps_timeout_s: float = 5.0
    open_timeout_s: float = 30.0  # a stream or producer that is not answered within this time is given up
    backoff_first_s: float = 0.1
    backoff_max_s: float = 5.0  # one connection a node, so that thousands of ranks do not come at once
    backoff_protocol_s: float = 60.0  # after an error that a retry alone will not cure
    database_away_s: float = 5.0  # the longest wait while the database is unavailable
    poll_s: float = 0.02  # how often the bell is looked at
    scan_s: float = 1.0  # how often journals are looked at anyway
    save_s: float = 0.02  # how often a position is saved at most
    save_busy_s: float = 0.2  # the same while more of its journal is on its way
    linger_s: float = 2.0  # how long a journal stays after its end is answered, for a writer that reads its position
