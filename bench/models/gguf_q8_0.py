"""GGUF with 8-bit matrices, by llama.cpp's own quantiser.

python -m bench.models.gguf_q8_0 F16_FILE FILE
"""

import sys

import llama_cpp


def main() -> int:
    """Write FILE; status 1 where llama.cpp could not."""
    source, file = (argument.encode() for argument in sys.argv[1:])
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    return int(llama_cpp.llama_model_quantize(source, file, parameters) != 0)


if __name__ == "__main__":
    sys.exit(main())
