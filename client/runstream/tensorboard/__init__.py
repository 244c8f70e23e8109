"""`runstream tensorboard LOGDIR`: brings the scalars of TensorBoard's event files to the service, while they grow.

    records         the framing of event files, with checksums
    chunks          reads a file piece by piece
    events          what the records say: scalars, hyperparameters, texts
    layout          which run and rank a file belongs to
    state           what was read so far, in a database of SQLite
    peek            the beginning of a file that belongs to no run yet
    event_journal   one event file, as a journal that the transport brings to the service
    follower        finds files, opens and ends journals, sets the end of runs
    dry_run         what would be made of a directory
    report          lines, or a display on a terminal

Exactly once. The event files are the journal, and nothing of them is copied. What has to survive a kill is how a file
was cut into numbered batches, so that each number has the same points whenever it is sent:

1. A chunk of a file is read and decoded, and cut into batches. Their numbers, where each begins in the file, how many
   points it has, new keys, and the end of the chunk are committed to the state in one transaction.
2. Only then the transport gets the batches. It sends them as a producer of its own for each file, as the agent does.
3. What the service has acknowledged is written to the state, which forgets those batches.

After a kill before the commit, the chunk is read again, since no part of it was sent. After a kill later, the batches
that are not known to be acknowledged are read again from the same bytes and get the same numbers; the service
recognises those that it has. A replaced producer id (after a restored database) is in the state before it is used.

The state is in the directory of the journals of this machine, or where `--state` says. Without it a file that was
imported would be imported again: so run ids are derived from the files, and a run that the service has, and the state
has not, is left alone and reported.
"""
