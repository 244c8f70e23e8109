"""Which points do some series have? All of them, exactly, streamed in order.

history.py           segments and hot points of one series after the other
streaming_merge.py   puts sources that overlap in order, and cuts the result into pieces of one size
"""
