"""Training and fine-tuning. Needs the `train` extra."""
