"""Ends runs: everything logged is sent to the service, then the run's end. For one run, or all runs of a process."""

from __future__ import annotations

import time
from collections.abc import Sequence

from runstream._pipeline import Pipeline
from runstream.v1 import run_pb2

_REPORT_AFTER_S = 2.0  # a longer wait is reported
_TURN_S = 0.05  # within this time, each of the runs that end at once gets a turn
_LAST_MOMENT_S = 0.2  # extra time for the run's end, when the time is up


class Ending:
    """The end of one run in this process, in steps, so that several runs can end concurrently under one deadline."""

    def __init__(self, pipeline: Pipeline, last: run_pb2.FinishRunRequest | None) -> None:
        self.pipeline = pipeline
        self.arrived = False
        self._last = last
        self._flushed: bool | None = None
        pipeline.buffer.close("finished")
        self._marker = pipeline.mark()
        pipeline.ask_again()

    def advance(self, wait_s: float) -> bool:
        """Waits at most this long; True when it is over: everything is answered, or nothing more can be."""
        outbox, control = self.pipeline.outbox, self.pipeline.control
        if not self.pipeline.started:
            self.arrived = self._last is None
            return True
        if self._flushed is None:
            flushed = outbox.wait_settled(self._marker, wait_s)
            if not flushed and not outbox.hopeless:
                return False
            self._set_flushed(flushed)
        if not control.wait_finished(wait_s):
            return False
        if control.wait_settled(wait_s):
            self.arrived = bool(self._flushed) and not control.end_refused
            return True
        return outbox.hopeless

    def hurry(self) -> None:
        """The time is up: send the run's end before everything else, even if points are left."""
        if self._flushed is None:
            self._set_flushed(False)
        self.pipeline.control.finish_first()

    def close(self, at_exit: bool) -> None:
        """Ends the threads. An acknowledgement that comes at the last moment still counts."""
        sealed = self._marker.ordinal is not None  # otherwise the sender still has to give up values on devices
        self.pipeline.stop_sending()
        if not self.arrived and sealed and self.pipeline.outbox.wait_settled(self._marker, 0.0):
            self._flushed = True
            self.advance(0.0)
        self.pipeline.shut_down(at_exit)

    def report(self, wait_s: float) -> None:
        """Reports what is being waited for."""
        pipeline = self.pipeline
        waiting = pipeline.buffer.account()[1]
        pipeline.notices.finishing(wait_s, waiting, pipeline.waiting_for_devices(), pipeline.control.pending())

    def _set_flushed(self, flushed: bool) -> None:
        self._flushed = flushed
        if self._last is not None:
            self.pipeline.control.finish(self._last)


def wait_all(endings: Sequence[Ending], timeout_s: float) -> None:
    """Lets all runs end under one deadline."""
    begun = time.monotonic()
    left = _advance(endings, min(timeout_s, _REPORT_AFTER_S))
    if left and timeout_s > _REPORT_AFTER_S:
        for ending in left:
            ending.report(timeout_s - _REPORT_AFTER_S)
        left = _advance(left, begun + timeout_s - time.monotonic())
    for ending in left:
        ending.hurry()
    _advance(left, _LAST_MOMENT_S)


def _advance(endings: Sequence[Ending], timeout_s: float) -> list[Ending]:
    """Advances all endings; returns those that are not over in time."""
    deadline = time.monotonic() + timeout_s
    left = list(endings)
    while left:
        turn_s = max(0.0, min(_TURN_S, deadline - time.monotonic())) / len(left)
        left = [ending for ending in left if not ending.advance(turn_s)]
        if time.monotonic() >= deadline:
            break
    return left
