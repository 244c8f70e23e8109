"""What the command `runstream status` shows.

collect.py   reads each part of the status from the database
render.py    the status as a page, or as JSON
"""
