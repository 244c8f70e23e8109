"""Programs that run in the environment of a tracker, where nothing of runstream_service is installed: the standard
library, and that tracker's own client.

    trainer.py  a training process
    reader.py   reads all points of some runs
    clients.py  how both use each tracker
"""
