"""MLflow's search language, with OR, NOT and parentheses: filters and orders of runs, experiments, models.

conditions.py  what a filter says: comparisons, joined by AND, OR and NOT
grammar.py     text -> conditions and orders, checked against a dialect
dialects.py    what each kind of entity can be searched by
sql.py         conditions -> SQL with parameters
"""
