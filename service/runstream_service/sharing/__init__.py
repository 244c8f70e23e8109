"""How workspaces share a replica. The same two rules hold for everything that is bounded:

- If callers wait, what becomes free goes to the waiting workspace that holds the least of it (fair_queue.py, slots.py).
- If callers cannot wait, a part always stays free for workspaces that hold little (capacity.py).

So one workspace may have nearly everything while no other wants it. When another one comes, it gets its share at once,
or as soon as something becomes free, however many streams, calls or reads the first one has.

current.py       the workspace that the current task works for
fair_queue.py    a queue in which workspaces take turns
slots.py         a semaphore with such a queue
loop_turns.py    a few messages per iteration of the event loop, workspaces in turn
urgent.py        pauses bulk ingest while reads, and batches of quiet workspaces, are under way
capacity.py      a bound with a part that stays free
stream_slots.py  such a bound for streams that stay open
"""
