"""What happens to hot batches, in the order of the calls. docs/storage.md says why the steps are in this order.

loop.py          repeats all steps for as long as the service runs, whatever fails
measurements.py  how far roll-up is behind, and how much disk the tables take
epochs.py        rotates and seals an epoch, publishes it when it is rolled up
rollup.py        the batches of a sealed epoch -> segments and latest values
partitions.py    drops partitions that no reader needs any more
merge.py         small segments -> large ones
metrics.py       Prometheus metrics of roll-up
"""
