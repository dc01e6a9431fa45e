"""What a checkpoint's files hold: every parameter's stored tensors, with their dtypes and shapes.

As floats a parameter is one tensor of its own shape. As int8 a matrix is three (`quantise.py` says what they mean):
`NAME` int8 in its own shape, `NAME.scales` float16 in that shape with 32 inputs made one, `NAME.columns` float32 with
one for each input; all other parameters stay float32.
"""

from cutaway.checkpoints.quantise import BLOCK_SIZE, QuantisedMatrix, block_count
from cutaway.checkpoints.safetensors import FLOATS, Array, Kind
from cutaway.config import GPT2Config
from cutaway.tensors import TensorSpec

CODES = {dtype: code for code, dtype in FLOATS.items()}  # "float32": "F32", ...
DTYPES = (*CODES, "int8")
QUANTISATION: dict[str, object] = {"quant_method": "cutaway", "bits": 8, "block_size": BLOCK_SIZE}
PREFIX = "transformer."  # before every name but the head's where a model was saved together with its head


def stored_kinds(config: GPT2Config, dtype: str) -> dict[str, dict[str, Kind]]:
    """For every parameter the tensors that store it as that dtype, by their names without prefix."""
    code = CODES.get(dtype, "F32")
    return {
        spec.name: _int8_kinds(spec) if dtype == "int8" and spec.quantisable else {spec.name: (code, spec.shape)}
        for spec in config.tensors.values()
    }


def _int8_kinds(spec: TensorSpec) -> dict[str, Kind]:
    name = spec.name
    rows, columns = spec.shape
    blocks = (block_count(rows), columns) if spec.transposed else (rows, block_count(columns))
    return {name: ("I8", spec.shape), f"{name}.scales": ("F16", blocks), f"{name}.columns": ("F32", (spec.inputs,))}


def int8_tensors(spec: TensorSpec, matrix: QuantisedMatrix) -> dict[str, Array]:
    """The three tensors that store a quantised matrix."""
    values, scales = matrix.values, matrix.scales
    if spec.transposed:
        values, scales = values.T, scales.T
    return {spec.name: values, f"{spec.name}.scales": scales, f"{spec.name}.columns": matrix.columns}


def with_prefix(name: str) -> str:
    """A tensor's name as transformers writes it."""
    return name if name.startswith("lm_head.") else PREFIX + name
