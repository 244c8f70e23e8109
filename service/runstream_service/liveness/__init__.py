"""Ends running runs whose producers are gone, and sets them to running again when a producer comes back.

A training job that is killed cannot report it. The service only sees that no replica has a stream of the run and that
nothing is committed. When that has lasted for `--silent-run-after`, the run is ended as killed, at the time of its last
activity.

    loop.py         repeats the search every minute, on each replica
    silent_runs.py  finds and ends silent runs
    metrics.py      Prometheus metrics of silent runs
"""
