"""MLflow's search language, with OR, NOT and parentheses: filters and orders of runs, experiments, models.

dialects.py    by which fields each kind of entity can be searched
grammar.py     parses a text into conditions and orders, checked against a dialect
conditions.py  conditions: comparisons, joined by AND, OR and NOT
sql.py         makes SQL with parameters of conditions
"""
