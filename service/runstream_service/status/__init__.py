"""`runstream status`.

collect.py   asks the database for each part of the status
render.py    the status as a page, or as JSON
"""
