"""`runstream doctor`: says what is wrong between a training process and the service, and what to do about it.

checks.py       what a check says
service.py      the service: name, port, gRPC, HTTP, versions, clocks
node.py         this node: journal directory, agent
environment.py  variables that change how connections are made
command.py      runs all of them, prints a table or JSON
"""
