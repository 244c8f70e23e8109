"""Time limits, tasks and threads, for all packages above.

deadlines.py  time limits of calls and of their steps
tasks.py      abandons tasks, whose end is not waited for
threads.py    threads for blocking work, a pool for each kind
"""
