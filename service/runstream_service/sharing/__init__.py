"""How workspaces share a replica. Two rules, the same for everything that is bounded:

- What becomes free goes to the waiting workspace that holds the least of it (fair_queue.py, slots.py).
- Where nobody waits, or waiting would take too long, a part always stays free for those that hold little (capacity.py).

So one workspace may have nearly everything while nobody else wants it, and another one that comes gets its share at
once or as soon as something becomes free, however many streams, calls or reads the first one has.

current.py       the workspace that the present task works for
fair_queue.py    who waits, by workspace
slots.py         a semaphore with such a line
loop_turns.py    a few messages per iteration of the event loop, workspaces in turn
urgent.py        bulk ingest lets reads, and batches of quiet workspaces, pass
capacity.py      a bound with a part that stays free
stream_slots.py  such a bound for streams that stay open
"""
