"""Settings that all tests share."""

import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# The suite runs in several processes on few cores: threads that wait for one another would take most of its time.
torch.set_num_threads(1)

settings.register_profile("suite", deadline=None)  # a busy machine is not a failure
settings.load_profile("suite")


@pytest.fixture
def heeded_ctrl_c() -> Iterator[None]:
    """A shell's background job does not heed it, nor do its children; with a handler here, they do."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
