"""Chooses the batches of the next message of a stream, with a fair share for each producer."""

from __future__ import annotations

from collections.abc import Collection

from runstream.transport import messages
from runstream.transport.feed import Feed
from runstream.transport.limits import Limits
from runstream.transport.producer import Batch

_LARGEST_BATCH_BYTES = 30_000  # of a journal: 1,000 points

Chosen = list[tuple[int, int, Batch]]  # producer index, number on the wire, batch


class BatchChooser:
    """Guarded by the transport's lock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._rotation = 0

    def choose(self, members: Collection[Feed], message_bytes: int) -> tuple[list[bytes], Chosen]:
        """Returns the Declare messages that the next batches need, and the batches, at most `message_bytes` of them.
        Each producer of the stream (`members`) has its share, and another one comes first each time.

        Batches are sent at once if a producer has none in flight; otherwise only when there are enough of them for a
        message of a good size.
        """
        limits = self._limits
        ready = [f for f in members if f.producer.unsent and f.session and f.session.opened]
        ready = [feed for feed in ready if not feed.replaced and feed.producer.may_open]
        if not ready:
            return [], []
        in_flight = sum(feed.producer.in_flight_bytes for feed in members)
        waiting = sum(feed.producer.buffered_bytes - feed.producer.in_flight_bytes for feed in ready)
        idle = any(not feed.producer.in_flight_bytes for feed in ready)
        if in_flight >= limits.in_flight_total_bytes or (not idle and waiting < limits.small_message_bytes):
            return [], []
        self._rotation += 1
        start = self._rotation % len(ready)
        ready = ready[start:] + ready[:start]
        declarations: list[bytes] = []
        chosen: Chosen = []
        left, batches_left = message_bytes, limits.message_batches
        for position, feed in enumerate(ready):
            assert feed.session is not None
            index = feed.session.index
            fresh: list[tuple[int, str]] = []
            others = len(ready) - position
            share = feed.producer.next_batches(left // others, limits.in_flight_bytes, max(1, batches_left // others))
            batches_left -= len(share)
            for batch in share:
                left -= batch.bytes
                fresh += feed.undeclared(batch)
                _warn_of_repeated_steps(feed, batch)
                chosen.append((index, feed.producer.wire_number(batch), batch))
            declarations += messages.declare(index, fresh)
            if left < _LARGEST_BATCH_BYTES or not batches_left:
                break
        return declarations, chosen


def _warn_of_repeated_steps(feed: Feed, batch: Batch) -> None:
    if feed.earlier_steps is None:
        return
    found = feed.earlier_steps.repeated(batch, feed.journal.keys)
    if found is not None:
        feed.notices.add_once(
            "earlier steps",
            "metric %r starts at step %d, but an earlier process logged it up to step %d as the same rank and "
            "attempt. Both values of such a step are kept, and charts show both. When a job is restarted, raise its "
            "attempt (RUNSTREAM_ATTEMPT, or start_run(attempt=...)): the newest attempt wins from its first step on",
            *found,
        )
    if feed.earlier_steps.done:
        feed.earlier_steps = None
