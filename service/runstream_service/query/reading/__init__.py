"""The parts of every read of stored points: in one transaction, segments and hot batches together have each point once.

read_transaction.py   the transaction, the statements in it, and how many reads run at a time
reader_thread.py      the thread in which reads run, so that they do not wait for ingest
series.py             finds the series of a query
columns.py            points of a series as columns
hot_windows.py        the points that are not rolled up yet, in windows of bounded size
"""
