"""`runstream login`: stores address, token and workspace for this user. `command.py` does it for both commands."""
