"""MLflow's search language: filters and orders of runs, experiments, models.

grammar.py   text -> comparisons and orders, checked against a dialect
dialects.py  what each kind of entity can be searched by
sql.py       comparisons -> conditions in SQL, with parameters
"""
