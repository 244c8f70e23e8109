"""What becomes of hot rows, in the order it happens to them. docs/storage.md says why the steps are in this order.

epochs.py      rotate and seal an epoch, publish it when it is rolled up
hot_rows.py    rows of a hot partition -> columns
rollup.py      the rows of a sealed epoch -> segments and latest values
hot_index.py   the index of the hot rows, which reads use until they are rolled up
drop.py        the partitions that no reader may want any more
merge.py       small segments -> large ones
loop.py        does all of it, again and again, whatever fails
metrics.py     what was done, and how far it is behind
"""
