"""What every read of stored points is made of: one transaction in which segments and hot batches are every point once.

read_transaction.py   the transaction, how many there may be at a time, and the statements in it
reader_thread.py      where reads run, so that they do not wait for ingest
series.py             which series are asked for
columns.py            points of a series as columns
hot_windows.py        the points that are not rolled up yet, in windows of bounded size
"""
