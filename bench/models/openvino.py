"""A checkpoint as OpenVINO's format, with float16 weights or 8-bit ones by OpenVINO's own quantiser (NNCF).

python -m bench.models.openvino float16|int8 CHECKPOINT DIRECTORY
"""

import sys
from pathlib import Path

import openvino  # type: ignore[import-not-found]
from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig  # type: ignore[import-not-found]


def main() -> None:
    """Write DIRECTORY."""
    dtype, checkpoint, directory = sys.argv[1:]
    eight_bits = OVWeightQuantizationConfig(bits=8) if dtype == "int8" else None
    model = OVModelForCausalLM.from_pretrained(
        checkpoint, export=True, compile=False, load_in_8bit=eight_bits is not None, quantization_config=eight_bits
    )
    model.save_pretrained(directory)
    if eight_bits is None:  # saved as float32
        openvino.save_model(model.model, Path(directory) / "openvino_model.xml", compress_to_fp16=True)


if __name__ == "__main__":
    main()
