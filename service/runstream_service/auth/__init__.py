"""Who a caller is: credentials of a call -> Caller, which every function of the core takes.

authenticator.py says what front ends need; anonymous.py is used without authentication.
"""
