"""`runstream exec`: runs a program as a run.

command.py       makes the run, starts the program, ends the run with its exit status
environment.py   the variables that lead clients of any kind to the run
child.py         starts the program, passes signals on, waits for it
output.py        passes its output on, and keeps the last lines
facts.py         host, command line and git commit, as tags
"""
