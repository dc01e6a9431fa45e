"""Measuring Cutaway beside its peers: see docs/comparison.md."""
