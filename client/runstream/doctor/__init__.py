"""`runstream doctor`: finds out what is wrong between a training process and the service, and says what to do about it.

checks.py       the result of a check
service.py      checks of the service: name, port, TLS, gRPC, token, HTTP, versions, clocks
node.py         checks of this node: journal directory, agent
environment.py  checks of variables that change how connections are made
command.py      runs all checks, and prints a table or JSON
"""
