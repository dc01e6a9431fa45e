"""The page in a real browser. Where there is none this is one test, which is skipped."""
