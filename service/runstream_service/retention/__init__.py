"""The end of what is stored: deleted series, runs, models and experiments are purged, with their files; old points are
deleted.

    loop.py            when each step runs, in every replica
    purge.py           deletes the rows of what was deleted
    purged_files.py    deletes the files of what was purged
    orphans.py         finds files of runs and models that are not in the database
    retention.py       deletes the old points of experiments
    write_ids.py       forgets the ids of HTTP metric writes
    ledger.py          forgets producers that nobody has heard of for long
    command.py         `runstream gc`, which does all of it once

Everything happens in chunks, each a short transaction, and any replica may do each: row locks make it one.
"""
