"""`runstream tensorboard LOGDIR`: sends the scalars of TensorBoard's event files to the service, while they grow.

    records         the framing of event files, with checksums
    chunks          reads a file piece by piece
    events          the content of records: scalars, hyperparameters, texts
    layout          which run and rank a file belongs to
    state           what was read so far, in a database of SQLite
    peek            the beginning of a file that belongs to no run yet
    event_journal   one event file, as a journal that the transport sends
    follower        finds files, opens and ends journals, sets the end of runs
    dry_run         which runs a directory would become
    report          lines of text, or a progress line on a terminal

Exactly once: the event files are the journal, and are not copied. What has to survive a kill is how a file was divided
into numbered batches, so that each number always has the same points:

1. A chunk of a file is read, decoded, and divided into batches. Their numbers, where each begins in the file, how many
   points it has, new keys, and the end of the chunk are committed to the state in one transaction.
2. Only then the transport gets the batches. Each file has a producer of its own, like a journal of the agent.
3. What the service has acknowledged is written to the state, which forgets those batches.

After a kill before the commit, the chunk is read again, since no part of it was sent. After a later kill, the batches
that are not known to be acknowledged are read again from the same bytes and get the same numbers; the service
recognises those that it has. A new producer id (after a restored database) is saved in the state before it is used.

The state is in the directory of the journals of this machine, or where `--state` says. Without its state, a file would
be imported again. So run ids are derived from the files, and a run that the service has but the state does not know is
not touched, and reported.
"""
