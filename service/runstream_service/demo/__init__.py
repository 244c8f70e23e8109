"""`runstream demo`, in reading order.

command.py   what happens, from start to exit code
service.py   `runstream serve` as a child process
crew.py      the worker processes: starts them, listens to them, ends them
worker.py    one rank: trains its replica and logs through the real client
exchange.py  how ranks average their gradients
model.py     the data and the model, in numpy
mishaps.py   what goes wrong in a run that is kept
failure.py   why it ends with exit code 1
view.py      what the terminal shows meanwhile
report.py    what was stored, read back and compared; the loss curve as text
"""
