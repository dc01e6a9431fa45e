"""Measuring Cutaway beside its peers: see docs/benchmarks.md."""
