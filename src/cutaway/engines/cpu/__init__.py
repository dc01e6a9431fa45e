"""The compiled CPU engine: `engine.py` checks, `library.py` loads, `native/` computes."""
