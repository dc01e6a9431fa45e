"""What a checkpoint's files hold: every parameter's stored tensors, with their dtypes and shapes.

As floats a parameter is one tensor of its own shape. As int8 a matrix is three (`quantise.py` says what they mean):
`NAME` int8 in its own shape, `NAME.scales` float16 in that shape with 32 inputs made one, `NAME.columns` float32 with
one for each input; all other parameters stay float32.
"""

from cutaway.checkpoints.quantise import BLOCK_SIZE, QuantisedMatrix, block_count, is_conv1d, matrix_names
from cutaway.checkpoints.safetensors import FLOATS, Array, Kind
from cutaway.config import GPT2Config

CODES = {dtype: code for code, dtype in FLOATS.items()}  # "float32": "F32", ...
DTYPES = (*CODES, "int8")
QUANTISATION: dict[str, object] = {"quant_method": "cutaway", "bits": 8, "block_size": BLOCK_SIZE}
PREFIX = "transformer."  # before every name but the head's where a model was saved together with its head


def stored_kinds(config: GPT2Config, dtype: str) -> dict[str, dict[str, Kind]]:
    """For every parameter the tensors that store it as that dtype, by their names without prefix."""
    matrices = frozenset(matrix_names(config) if dtype == "int8" else ())
    code = CODES.get(dtype, "F32")
    return {
        name: _int8_kinds(name, shape) if name in matrices else {name: (code, shape)}
        for name, shape in config.tensor_shapes().items()
    }


def _int8_kinds(name: str, shape: tuple[int, ...]) -> dict[str, Kind]:
    rows, columns = shape
    blocks = (block_count(rows), columns) if is_conv1d(name) else (rows, block_count(columns))
    inputs = rows if is_conv1d(name) else columns
    return {name: ("I8", shape), f"{name}.scales": ("F16", blocks), f"{name}.columns": ("F32", (inputs,))}


def int8_tensors(name: str, matrix: QuantisedMatrix) -> dict[str, Array]:
    """The three tensors that store a quantised matrix."""
    values, scales = matrix.values, matrix.scales
    if is_conv1d(name):
        values, scales = values.T, scales.T
    return {name: values, f"{name}.scales": scales, f"{name}.columns": matrix.columns}


def with_prefix(name: str) -> str:
    """A tensor's name as transformers writes it."""
    return name if name.startswith("lm_head.") else PREFIX + name
