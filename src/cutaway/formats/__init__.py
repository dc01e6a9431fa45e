"""The formats that parameters are stored in. A new one needs a module here and a `kernel_*.inl` of the CPU engine."""

from cutaway.formats.floats import BFloat16, Float16, Float32, FloatFormat
from cutaway.formats.format import Array, Arrays, Format, StoredAs, StoredTensor
from cutaway.formats.int8 import Int8, QuantisedMatrix, quantise

FLOAT32 = Float32()
FLOATS: tuple[FloatFormat, ...] = (FLOAT32, Float16(), BFloat16())
FORMATS: dict[str, Format] = {stored.name: stored for stored in (*FLOATS, Int8())}

__all__ = [
    "FLOAT32",
    "FLOATS",
    "FORMATS",
    "Array",
    "Arrays",
    "FloatFormat",
    "Format",
    "QuantisedMatrix",
    "StoredAs",
    "StoredTensor",
    "quantise",
]
