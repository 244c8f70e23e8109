"""What happens to hot rows, in the order of the steps. docs/storage.md says why they are in this order.

epochs.py      rotates and seals an epoch, publishes it when it is rolled up
hot_rows.py    rows of a hot partition -> columns
rollup.py      the rows of a sealed epoch -> segments and latest values
hot_index.py   the index of the hot rows, which reads use until they are rolled up
drop.py        drops the partitions that no reader needs any more
merge.py       small segments -> large ones
loop.py        repeats all steps for as long as the service runs, whatever fails
metrics.py     what roll-up did, and how far it is behind
"""
