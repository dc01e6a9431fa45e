"""Ways to break a file: its bytes as they lie, the values in its JSON, the header of a safetensors file."""

import json
import random
import re
from collections.abc import Callable

HOSTILE_NUMBERS = (
    *map(str, (-1, 0, 1, 3, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**18, 10**4000)),
    *("1e999", "-0.0", "0.5", "NaN", "Infinity", "-Infinity", "true", "null", "[]", "{}", "1,1", "1:1"),
    *("[" * 5000, "[" * 5000 + "]" * 5000, '{"a":' * 3000, '"' + "x" * 5000 + '"', '"8"', r'"\ud800"', r'"\u0000"'),
)
HOSTILE_TEXTS = (
    *('""', '"F64"', '"I8"', '"BF16"', '"F8_E4M3"', '"f32"', '"__metadata__"', '"n_layer"', '"gpt_neo"', '"/dev/zero"'),
    *('"../../etc/passwd"', '"wte.weight"', '"transformer.wte.weight"', '"lm_head.weight"', '"h.0.attn.bias"'),
    *('"model-00001-of-00002.safetensors"', '"' + "y" * 3000 + '"', '"x" "y"', "7", "null", "[7]"),
    *(r'"\ud800\udc00"', r'"\udfff"', r'"a\nb"'),
)
HOSTILE_LENGTHS = (0, 1, 2, 7, 8, 2**20, 2**20 + 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1)

Mutate = Callable[[random.Random, bytes], bytes]


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 1, 4, 8, 100))) + data[at:]


def move(rng: random.Random, data: bytes) -> bytes:
    """A piece is cut out, doubled, or put somewhere else."""
    start = rng.randrange(len(data))
    at = rng.randrange(len(data))
    piece = data[start : start + rng.choice((1, 4, 16, 64))]
    rest = rng.choice((data, data[:start] + data[start + len(piece) :]))
    return rest[:at] + piece * rng.randrange(2) + rest[at:]


def hostile_number(rng: random.Random, text: bytes) -> bytes:
    return _replace_one(rng, text, rb"-?\d+(\.\d+)?(e-?\d+)?|true|false|null", HOSTILE_NUMBERS)


def hostile_text(rng: random.Random, text: bytes) -> bytes:
    return _replace_one(rng, text, rb'"[^"]*"', HOSTILE_TEXTS)


def _replace_one(rng: random.Random, text: bytes, pattern: bytes, choices: tuple[str, ...]) -> bytes:
    found = rng.choice(list(re.finditer(pattern, text)))
    return text[: found.start()] + rng.choice(choices).encode() + text[found.end() :]


def shuffle_values(rng: random.Random, text: bytes) -> bytes:
    """Two values change places, or one is taken away or doubled, and the JSON stays sound."""
    value = json.loads(text)
    holder = value.get("weight_map", value)
    if isinstance(rng.choice(list(holder.values())), dict):
        holder = rng.choice([item for item in holder.values() if isinstance(item, dict)] + [holder])
    one = rng.choice(list(holder))
    other = rng.choice(list(holder))
    match rng.randrange(4):
        case 0:
            first = holder[one]
            holder[one] = holder[other]
            holder[other] = first
        case 1:
            holder[one] = holder[other]
        case 2:
            del holder[one]
        case _:
            holder[one + "x"] = holder[other]
    return json.dumps(value).encode()


RAW: tuple[Mutate, ...] = (flip_bits, truncate, insert, move)
TEXT: tuple[Mutate, ...] = (hostile_number, hostile_text, shuffle_values, *RAW)


def mutate_safetensors(rng: random.Random, data: bytes) -> bytes:
    """Either the bytes as they lie are changed, or the header, with its length made right again or made hostile."""
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    tensors = data[8 + length :]
    match rng.randrange(8):
        case 0:
            return rng.choice(RAW)(rng, data)
        case 1:
            return rng.choice((*HOSTILE_LENGTHS, length - 8, length + 8, len(data))).to_bytes(8, "little") + data[8:]
        case 2:
            return data[:8] + header + rng.choice(RAW)(rng, tensors)
        case _:
            header = rng.choice(TEXT)(rng, header)
            return len(header).to_bytes(8, "little") + header + tensors


def mutate_json(rng: random.Random, data: bytes) -> bytes:
    return rng.choice(TEXT)(rng, data)
