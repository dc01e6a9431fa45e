"""Evaluation and benchmarks of a model."""
