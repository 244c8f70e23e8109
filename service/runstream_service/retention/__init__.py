"""Deletes stored data for good: deleted series, runs, models and experiments with their files, and old points.

    loop.py            repeats the steps, in every replica
    purge.py           deletes the rows of what users deleted
    purged_files.py    deletes the files of what was purged
    orphans.py         finds files of runs and models that are not in the database
    retention.py       deletes the old points of experiments
    expiry.py          deletes rows that are kept for a time only: ids of writes over HTTP, silent producers, sessions
    metrics.py         Prometheus metrics of purge and retention
    command.py         `runstream gc`, which does all of this once

All work is done in chunks, each a short transaction. Any replica may do any chunk; row locks keep two from doing the
same one.
"""
