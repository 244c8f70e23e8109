"""`runstream bench --durability`: the same faults against several trackers, and what each of them kept.

`names` has the trackers and scenarios; `trackers` how each is installed and configured, `servers` their processes;
`scenarios` does the harm; `counting` compares what was logged with what is there; `report` and `page` write it down.
`programs/` run in the environment of a tracker, which has nothing of ours.
"""
