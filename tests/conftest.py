"""Settings that all tests share."""

import os

# The suite runs in several processes on few cores: threads that wait for one another would take most of its time. Read
# when NumPy is imported, here and in the processes that tests start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported: kernels run without a GPU

import gc
import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

settings.register_profile("suite", deadline=None)  # a busy machine is not a failure
settings.register_profile("quick", deadline=None, max_examples=15)


def pytest_configure(config: pytest.Config) -> None:
    """Draw fewer examples of each property in `make check`."""
    settings.load_profile("quick" if "not slow" in config.getoption("markexpr") else "suite")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector from the thousands of tests, which stay to the end."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """Heed SIGINT, which a shell's background job ignores, and SIGHUP, which nohup does, here and in children."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
