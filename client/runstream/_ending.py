"""Ends one run, or all runs of a process: waits until everything that was logged, and then the run's end, is written to
the journal and sent to the service.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from runstream._markers import EndMarker
from runstream._recorder import Recorder
from runstream._recording import Recording

_REPORT_AFTER_S = 2.0  # a longer wait is reported
_LAST_MOMENT_S = 0.2  # when the time is up, extra time for writing the run's end to the journal
_CLOSE_S = 1.0  # how long the recorder may take to close the journal
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.01
_PAUSE_SHARE, _LONGEST_LATER_PAUSE_S = 0.02, 0.1  # of the time that was waited, and at most


class Ending:
    """The end of one run in this process."""

    def __init__(self, recorder: Recorder, recording: Recording, end: EndMarker) -> None:
        self.recorder = recorder
        self.recording = recording
        self.arrived = False
        self._lacks_device_values = False
        self._end = end
        self._is_empty = recording.is_empty()  # a forked child that has never logged has nothing to end
        recording.buffer.close("finished")
        if not self._is_empty:
            recording.buffer.put_marker(end)

    def is_over(self) -> bool:
        """Whether waiting can end: everything has arrived, or nothing more can arrive."""
        return not self.recorder.running or self.recording.is_hopeless(self.recording.ended_s) or self._has_arrived()

    def _has_arrived(self) -> bool:
        """Whether everything has its final answer, or is on disk for an agent that outlives the job."""
        recording = self.recording
        return (
            self._is_empty
            or recording.is_settled(self._end)
            or (recording.store.agent_outlives_job and recording.is_on_disk(self._end))
        )

    def stop_waiting_for_devices(self) -> None:
        """Lets the run's end be written although values on devices are missing, as the time is up."""
        self._lacks_device_values = self.recording.packer.waiting_for_devices() > 0
        self.recording.give_up_values()

    @property
    def is_written(self) -> bool:
        """Whether the run's end is in the journal."""
        return self._end.reached or not self.recorder.running

    def close(self) -> None:
        """Closes the journal and sets `arrived`. An acknowledgement that comes at the last moment still counts."""
        recording, recorder = self.recording, self.recorder
        if not recording.closed:
            recording.leave()  # if no recorder thread runs now, the next one closes it
            deadline_s = time.monotonic() + _CLOSE_S
            while recorder.running and not recording.closed and time.monotonic() < deadline_s:
                time.sleep(_LONGEST_PAUSE_S)
        if not recorder.running and not recording.closed:
            recording.buffer.drop_waiting("no_threads")
        lost = recording.dead or recording.lost or self._lacks_device_values
        self.arrived = self._has_arrived() and not (lost or recording.run_refused or recording.position.end_refused)

    def report(self, wait_s: float) -> None:
        """Reports what is being waited for."""
        recording = self.recording
        counters = recording.buffer.counters()
        on_devices = recording.packer.waiting_for_devices()
        points = counters.waiting + counters.unsettled - on_devices
        recording.logger.finishing(wait_s, points, on_devices, recording.pending_calls())


def wait_all(endings: Sequence[Ending], timeout_s: float) -> None:
    """Waits for the end of all runs, under one deadline."""
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
    """Pauses between checks of what another thread does, short at first and then longer. The waiter holds no lock
    meanwhile, so it may be a signal handler or a greenlet, and may be forked."""

    def __init__(self) -> None:
        self._begun_s = time.monotonic()
        self._pause_s = _FIRST_PAUSE_S

    def until(self, deadline_s: float) -> bool:
        """Sleeps for one pause; returns False if the deadline (monotonic clock) has passed."""
        now_s = time.monotonic()
        left_s = deadline_s - now_s
        if left_s <= 0:
            return False
        # Not `_threads.sleep`: where gevent has replaced this one, other greenlets run meanwhile.
        time.sleep(min(self._pause_s, left_s))
        later_s = min(_PAUSE_SHARE * (now_s - self._begun_s), _LONGEST_LATER_PAUSE_S)
        self._pause_s = min(2 * self._pause_s, max(_LONGEST_PAUSE_S, later_s))
        return True
