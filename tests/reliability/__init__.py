"""Proof that no run is lost: every promise is a check with a number, and each check is shown to fail on sabotaged code.

`python -m tests.reliability` runs the full forms and prints one table; `test_reliability.py` runs short ones.
"""
