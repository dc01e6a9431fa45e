"""What all tests share."""

import torch

# The suite runs in several processes on few cores: threads that wait for one another would take most of its time.
torch.set_num_threads(1)
