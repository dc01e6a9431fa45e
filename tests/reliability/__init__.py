"""Proof of what docs/reliability.md promises: each promise is a check with a number, shown to fail on sabotaged code.

`python -m tests.reliability` runs the full forms and prints one table; `test_reliability.py` runs short ones.
"""
