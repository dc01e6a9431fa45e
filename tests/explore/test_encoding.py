import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from cutaway.errors import UsageError
from cutaway.explore.encoding import EncodedTensor, encode, tensors_content

SHAPES = [(), (3,), (2, 3), (0, 4), (1, 2, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("encoding", ["f32", "f16", "u8sqrt"])
def test_the_safetensors_library_reads_what_was_written(shape: tuple[int, ...], encoding: str) -> None:
    shares = np.random.default_rng(0).random(shape).astype(np.float32)
    sent: dict[str, EncodedTensor] = {
        "ids[:]": encode("ids", np.arange(3), encoding),
        "attn.0[1,:]": encode("attn.0", shares, encoding),
    }
    found = load(tensors_content(sent).body)
    assert found.keys() == sent.keys()
    for name, tensor in sent.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        np.testing.assert_array_equal(found[name], tensor)


def test_every_tensor_begins_at_a_multiple_of_its_size() -> None:
    sent: dict[str, EncodedTensor] = {
        "a": np.zeros(3, np.uint8),
        "b": np.zeros(5, np.float32),
        "c": np.zeros(1, np.float16),
    }
    body = tensors_content(sent).body
    length = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + length])
    for name, tensor in sent.items():
        assert (8 + length + header[name]["data_offsets"][0]) % tensor.itemsize == 0


def test_integers_stay_integers_in_every_encoding() -> None:
    for encoding in ("f32", "f16", "u8sqrt"):
        encoded = encode("ids", np.array([0, 50256]), encoding)
        assert encoded.dtype == np.int32
        assert encoded.tolist() == [0, 50256]


@given(st.floats(0, 1, width=32))
def test_u8sqrt_rounds_to_the_nearest_level(share: float) -> None:
    (root,) = encode("attn.0", np.array([share], np.float32), "u8sqrt").astype(np.float64)
    assert abs(root / 255 - np.sqrt(share)) <= 0.5001 / 255
    assert abs((root / 255) ** 2 - share) <= 1 / 254


@pytest.mark.parametrize("number", [-1e-9, 1.0001, np.nan, np.inf])
def test_u8sqrt_rejects_values_outside_0_to_1(number: float) -> None:
    with pytest.raises(UsageError, match=r"u8sqrt is for values from 0 to 1, and x has others; ask for f32"):
        encode("x", np.array([number], np.float32), "u8sqrt")


def test_f16_rejects_overflow_and_keeps_infinities() -> None:
    with np.errstate(over="ignore"), pytest.raises(UsageError, match=r"masked\.0 has values too large for f16"):
        encode("masked.0", np.array([-1e10], np.float32), "f16")
    assert encode("x", np.array([-np.inf, np.nan, 1], np.float32), "f16").dtype == np.float16
