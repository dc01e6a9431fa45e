"""GPT-2 as a PyTorch module, for gradients and GPUs, and the engine that runs it. Needs the `train` extra."""
