"""`runstream bench --durability`: the same faults against several trackers, and what each of them kept.

names.py         the trackers and scenarios
command.py       cells, some at a time, then the tables
cells.py         one tracker in one scenario
trackers.py      how each tracker is installed; servers.py its processes
scenarios.py     the harm that is done; small_disk.py and ../tcp_proxy.py do it
programs/        programs that run in a tracker's own environment, where runstream is not installed
counting.py      compares what was logged with what is there
kept.py          results in a file, so that an interrupted comparison goes on
report.py        tables; page.py writes them into a document
"""
