"""The same calls to a stock `mlflow server` and to our service: answers have to be the same.

calls.py         a call, and the names under which it knows what servers number differently
compare.py       an answer without what may differ: ids, times, generated names, the order within dictionaries
walk.py          a random sequence of calls, made from a seed
experiments.py, runs.py, ...   what the walk may do in an area
differences.py   where we differ on purpose, and why
"""
