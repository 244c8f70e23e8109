"""Finds the runs that nobody works on any more. Runs whose producers are gone are ended, and are set to running again
when a producer comes back.

A training job that is killed cannot report it. The service only sees that no replica has a stream of the run and that
nothing is committed. After `--silent-run-after` of that, the run is ended as killed, at the time of its last activity.

    loop.py         searches every minute, on each replica
    silent_runs.py  ends them
    metrics.py      Prometheus metrics of silent runs
"""
