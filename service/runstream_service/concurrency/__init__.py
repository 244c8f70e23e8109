"""Waiting and threads, for all layers above.

deadlines.py  time limits of work and of its steps
tasks.py      tasks that nobody waits for any more
threads.py    threads for blocking work, a pool for each kind
"""
