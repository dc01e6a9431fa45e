"""Freed memory that stays in the process, measured in one of its own."""

import os
import subprocess
import sys

import pytest

from cutaway.training.distributed import ALONE
from cutaway.training.memory import keep_freed_memory
from cutaway.training.model import process_device

PAGES = """
import resource, sys
import numpy as np
from cutaway.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(100 << 20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library has no mallopt")
@pytest.mark.parametrize(("how", "faulted"), [("keep", False), ("default", True)])
def test_the_pages_of_a_freed_array_serve_the_next_one(how: str, faulted: bool) -> None:
    """Without the setting 100 MB are faulted in anew, in pages of 4 kB or of 2 MB."""
    command = [sys.executable, "-c", PAGES, how]
    n_faults = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (n_faults >= 40) == faulted


def test_onednn_keeps_few_products_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, capacity in ((None, "128"), ("7", "7")):
        monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
        if given:
            monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", given)
        process_device("cpu", None, ALONE)
        assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == capacity
