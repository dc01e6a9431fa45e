"""Making a model. Needs the `train` extra."""
