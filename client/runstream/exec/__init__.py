"""`runstream exec`: runs a program as a run.

command.py       starts the run, starts the program, and ends the run with its exit status
environment.py   the variables with which any client in the program finds the run
child.py         starts the program, forwards signals to it, and waits for it
output.py        forwards the output of the program, and keeps the last lines
facts.py         host, command line and git commit, as tags
"""
