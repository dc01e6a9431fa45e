"""Settings that all tests share."""

import torch
from hypothesis import settings

# The suite runs in several processes on few cores: threads that wait for one another would take most of its time.
torch.set_num_threads(1)

settings.register_profile("suite", deadline=None)  # a busy machine is not a failure
settings.load_profile("suite")
