"""Benchmarks of Cutaway and its peers: see docs/comparison.md."""
