"""Ends runs: everything logged is written to the journal and brought to the service, then the run's end. For one run,
or all runs of a process.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from runstream._markers import EndMarker
from runstream._recorder import Recorder
from runstream._recording import Recording

_REPORT_AFTER_S = 2.0  # a longer wait is reported
_LAST_MOMENT_S = 0.2  # extra time for what is still to be written, when the time is up
_CLOSE_S = 1.0  # how long the recorder may take to free the journal
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.01


class Ending:
    """The end of one run in this process."""

    def __init__(self, recorder: Recorder, recording: Recording, end: EndMarker) -> None:
        self.recorder = recorder
        self.recording = recording
        self.arrived = False
        self._is_short_of_values = False
        self._end = end
        self._is_empty = recording.is_empty()  # a forked child that has never logged has nothing to end
        recording.buffer.close("finished")
        if not self._is_empty:
            recording.buffer.put_marker(end)

    def is_over(self) -> bool:
        """Whether everything is answered, or nothing more can be."""
        return not self.recorder.running or self.recording.is_hopeless(self.recording.ended_s) or self._is_taken()

    def _is_taken(self) -> bool:
        """Whether everything has its final answer, or will get it from an agent that outlives the job."""
        recording = self.recording
        return (
            self._is_empty
            or recording.is_settled(self._end)
            or (recording.store.agent_outlives_job and recording.is_on_disk(self._end))
        )

    def stop_waiting_for_devices(self) -> None:
        """The time is up: the run's end is written, although values on devices are missing."""
        self._is_short_of_values = self.recording.packer.waiting_for_devices() > 0
        self.recording.give_up_values()

    @property
    def is_written(self) -> bool:
        """Whether the run's end is in the journal."""
        return self._end.reached or not self.recorder.running

    def close(self) -> None:
        """Frees the journal. An acknowledgement that comes at the last moment still counts."""
        recording, recorder = self.recording, self.recorder
        if not recording.closed:
            recording.leave()  # if no thread runs now, the next one lets go of it
            deadline_s = time.monotonic() + _CLOSE_S
            while recorder.running and not recording.closed and time.monotonic() < deadline_s:
                time.sleep(_LONGEST_PAUSE_S)
        if not recorder.running and not recording.closed:
            recording.buffer.drop_waiting("no_threads")
        lost = recording.dead or recording.lost or self._is_short_of_values
        self.arrived = self._is_taken() and not (lost or recording.run_refused or recording.position.end_refused)

    def report(self, wait_s: float) -> None:
        """Reports what is being waited for."""
        recording = self.recording
        counters = recording.buffer.counters()
        on_devices = recording.packer.waiting_for_devices()
        points = counters.waiting + counters.unsettled - on_devices
        recording.logger.finishing(wait_s, points, on_devices, recording.pending_calls())


def wait_all(endings: Sequence[Ending], timeout_s: float) -> None:
    """Lets all runs end under one deadline."""
    if not endings:
        return
    begun = time.monotonic()
    with endings[0].recorder.watching(*(ending.recording for ending in endings)):
        left = _wait(endings, min(timeout_s, _REPORT_AFTER_S))
        if left and timeout_s > _REPORT_AFTER_S:
            for ending in left:
                ending.report(timeout_s - _REPORT_AFTER_S)
            left = _wait(left, begun + timeout_s - time.monotonic())
        for ending in left:
            ending.stop_waiting_for_devices()
        deadline_s = time.monotonic() + _LAST_MOMENT_S
        while not all(ending.is_written for ending in left) and time.monotonic() < deadline_s:
            time.sleep(_LONGEST_PAUSE_S)


def _wait(endings: Sequence[Ending], timeout_s: float) -> list[Ending]:
    """Waits until all endings are over; returns those that are not in time."""
    deadline_s = time.monotonic() + timeout_s
    pauses = Pauses()
    left = list(endings)
    while left := [ending for ending in left if not ending.is_over()]:
        if not pauses.until(deadline_s):
            break
    return left


class Pauses:
    """Waiting for another thread: looking again after a pause, short ones at first. A waiter holds no lock, so it may
    be a signal handler or a greenlet, or fork."""

    def __init__(self) -> None:
        self._pause_s = _FIRST_PAUSE_S

    def until(self, deadline_s: float) -> bool:
        """One pause; False if the deadline has passed."""
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return False
        time.sleep(min(self._pause_s, left_s))  # not ours: gevent's lets other greenlets run
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return True
