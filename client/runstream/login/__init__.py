"""`runstream login` and `runstream logout`: store address, token and workspace for this user, and delete them.

command.py  what both commands do
browser.py  signing in with the browser
"""
