"""All points of some series, exactly, streamed in order.

history.py           reads segments and hot points, one series after the other
streaming_merge.py   merges sources that overlap, and divides the result into pieces of equal size
"""
