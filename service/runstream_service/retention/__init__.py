"""Deletes stored data for good: deleted series, runs, models and experiments with their files, and old points.

    loop.py            when each step runs, in every replica
    purge.py           deletes the rows of what was deleted
    purged_files.py    deletes the files of what was purged
    orphans.py         finds files of runs and models that are not in the database
    retention.py       deletes the old points of experiments
    expiry.py          forgets ids of HTTP metric writes, and producers that have been silent for long
    metrics.py         Prometheus metrics of all of these
    command.py         `runstream gc`, which does all of it once

All work is done in chunks, each of them a short transaction. Any replica may do a chunk; row locks let only one do it.
"""
