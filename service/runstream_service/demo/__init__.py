"""`runstream demo`, in reading order.

command.py   the steps of the demo, from its start to the exit code
service.py   `runstream serve` as a child process
crew.py      the worker processes: starts them, listens to them, ends them
worker.py    one rank: trains its replica and logs through the real client
exchange.py  how ranks average their gradients
model.py     the data and the model, in numpy
mishaps.py   what goes wrong in a run that is kept
failure.py   the error that ends it with exit code 1
view.py      shows progress in the terminal
report.py    reads back what was stored and compares it; draws the loss curve as text
"""
