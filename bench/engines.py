"""The engines to compare: each library at each precision, its model, and the settings that won the sweep.

The other settings are in `bench.sweep`; docs/comparison.md has the measurements of both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".peers"  # environments, models and logs: created by bench/setup_peers.sh, not committed

Settings = Mapping[str, bool | int | str]


@dataclass(frozen=True)
class Engine:
    """A library at one precision. `library` names its environment and its module in `bench.peers`."""

    name: str
    library: str
    precision: str
    model: str
    exact: bool  # the file holds the model's very weights, so greedy tokens must be those of float32
    settings: Settings = field(default_factory=dict)  # for the peer's `load`
    environment: Mapping[str, str] = field(default_factory=dict)  # for its process
    needs: str = ""  # an instruction set without which it is too slow to measure


OURS = "Cutaway int8"  # what the others are compared with
REFERENCE = "transformers float32"  # what says which tokens are right

ENGINES = (
    Engine(OURS, "cutaway", "int8", "int8", exact=False),
    Engine("Cutaway float32", "cutaway", "float32", "float32", exact=True),
    Engine(REFERENCE, "transformers", "float32", "float32", exact=True),
    Engine("transformers bfloat16", "transformers", "bfloat16", "float32", exact=False, needs="avx512f"),
    Engine("CTranslate2 float32", "ctranslate2", "float32", "ctranslate2-float32", exact=True),
    Engine("CTranslate2 int8", "ctranslate2", "int8", "ctranslate2-int8", exact=False),
    Engine("llama.cpp F16", "llama_cpp", "F16", "gpt2-F16.gguf", exact=True),
    Engine("llama.cpp Q8_0", "llama_cpp", "Q8_0", "gpt2-Q8_0.gguf", exact=False),
    Engine("OpenVINO GenAI float16", "openvino", "float16", "openvino-float16", exact=True),
    Engine("OpenVINO GenAI int8", "openvino", "int8", "openvino-int8", exact=False),
)


@dataclass(frozen=True)
class Task:
    """Each of `batch` sequences reads `prompt` tokens of its own and generates `new_tokens`.

    It measures the time to the first token of all sequences (`prefill`), or the time of the tokens after it.
    """

    name: str
    prompt: int
    batch: int
    new_tokens: int

    @property
    def prefill(self) -> bool:
        return self.new_tokens == 1

    @property
    def measured_tokens(self) -> int:
        return self.batch * (self.prompt if self.prefill else self.new_tokens - 1)


DECODE = Task("decode-128", prompt=128, batch=1, new_tokens=65)
DECODE_16 = Task("decode-128-batch-16", prompt=128, batch=16, new_tokens=17)
DECODE_LATE = Task("decode-900", prompt=900, batch=1, new_tokens=33)
DECODE_LATE_16 = Task("decode-900-batch-16", prompt=900, batch=16, new_tokens=9)
PREFILL = Task("prefill-512", prompt=512, batch=1, new_tokens=1)
TASKS = (DECODE, DECODE_16, DECODE_LATE, DECODE_LATE_16, PREFILL)


@dataclass(frozen=True)
class Plan:
    """Number of rounds of each task; in each round the engines take turns."""

    name: str
    repeats: Mapping[Task, int]


QUICK = Plan("quick", {DECODE: 3, PREFILL: 3, DECODE_16: 1})
FULL = Plan("full", {DECODE: 5, PREFILL: 5, DECODE_LATE: 3, DECODE_16: 2, DECODE_LATE_16: 1})
