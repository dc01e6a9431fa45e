"""Trainers of GPT-2 124M for `bench.train`, each a program that takes a few steps and prints their times."""
