"""Softmax and log-softmax against torch, top-k against a full stable sort."""

import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import DTypeLike

from cutaway.engines.reference import ReferenceEngine
from cutaway.numerics import log_softmax, softmax, top_k
from cutaway.trace import Trace
from tests.tiny import tiny_weights


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_keeps_the_precision_of_its_argument(dtype: DTypeLike) -> None:
    x = np.random.default_rng(0).normal(0, 5, (3, 4, 50)).astype(dtype)
    assert softmax(x).dtype == dtype
    np.testing.assert_allclose(softmax(x), torch.softmax(torch.from_numpy(x), -1).numpy(), rtol=1e-5)


def test_softmax_of_scores_far_apart() -> None:
    np.testing.assert_array_equal(softmax(np.array([[0, 0], [-1e10, 3]])), [[0.5, 0.5], [0, 1]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax_is_in_float64(dtype: DTypeLike) -> None:
    x = (np.random.default_rng(1).normal(0, 5, (7, 50)) + 1000).astype(dtype)
    assert log_softmax(x).dtype == np.float64
    expected = torch.log_softmax(torch.from_numpy(x).double(), -1).numpy()
    np.testing.assert_allclose(log_softmax(x), expected, atol=1e-5 if dtype == np.float32 else 1e-12)


@given(
    # few different values, so that most entries have equals
    arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 20)), elements=st.integers(-3, 3).map(float)),
    st.integers(1, 25),
)
def test_top_k_equals_the_start_of_a_stable_sort(x: np.ndarray, k: int) -> None:
    expected = np.argsort(-x, axis=-1, kind="stable")[:, :k]
    np.testing.assert_array_equal(top_k(x, k), expected)
    np.testing.assert_array_equal(top_k(x[0], k), expected[0])


UNDER_A_LIMIT = """
import resource
import numpy as np
from cutaway.numerics import BLAS_BYTES, reserve_blas

def leave(n_bytes):
    held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + n_bytes, resource.RLIM_INFINITY))

matrix = np.ones((300, 300), np.float32)
out = np.empty_like(matrix)
leave(BLAS_BYTES * 3 // 4)
try:
    reserve_blas()
except MemoryError:
    print("too little")
leave(BLAS_BYTES * 3 // 2)
reserve_blas()
leave(1 << 20)
print(np.matmul(matrix, matrix, out=out)[0, 0])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_products_have_their_memory_or_there_is_an_error() -> None:
    done = subprocess.run([sys.executable, "-c", UNDER_A_LIMIT], capture_output=True, text=True, check=False)
    assert (done.stdout.split("\n"), done.returncode) == (["too little", "300.0", ""], 0), done.stderr


def test_what_multiplies_matrices_reserves_the_memory_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> NoReturn:
        raise MemoryError

    weights = tiny_weights()
    for module in ("engines.reference", "trace.trace"):
        monkeypatch.setattr(f"cutaway.{module}.reserve_blas", refuse)
    with pytest.raises(MemoryError):
        ReferenceEngine(weights)
    with pytest.raises(MemoryError):
        Trace(weights.config, weights.arrays, None, [1])
