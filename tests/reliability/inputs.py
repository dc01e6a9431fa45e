"""Broken files of every kind: each is read, or refused by one line that names it; never a bug, never much memory.

A mutant follows from its number alone. The bytes are changed as they lie, or a value in JSON becomes a hostile one.
"""

import json
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cutaway.checkpoints import Checkpoint, open_checkpoint, save_checkpoint
from cutaway.checkpoints.adapter import Adapter, Pair, save_adapter
from cutaway.data.dataset import open_dataset
from cutaway.data.prepare import prepare, read_texts
from cutaway.errors import CutawayError
from cutaway.generation.config_json import read_generation_config
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.train import train_vocabulary
from cutaway.tokenizer.vocabulary import Vocabulary
from cutaway.training.config import TrainingConfig, read_toml
from cutaway.training.plots import read_curves
from tests.mutations import RAW, mutate_json, mutate_safetensors
from tests.reliability.harness import Result, scratch
from tests.tiny import tiny_weights

MEMORY = 64 << 20  # bytes
SECONDS = 20.0  # that no file may take; a second on a quiet machine
TEXT = "A robot must obey the orders given it, <|endoftext|> café 机器人.\n" * 3


@dataclass(frozen=True)
class Kind:
    """Files of one kind in a directory of their own, and the function that reads them."""

    write: Callable[[Path], None]
    read: Callable[[Path], object]


def _write_model(directory: Path) -> None:
    save_checkpoint(directory, tiny_weights(n_vocab=7, n_ctx=4, n_embd=4, n_head=2, n_layer=1), "int8")
    (directory / "generation_config.json").write_text('{"temperature": 0.7, "top_k": 5, "eos_token_id": [1, 2]}')


def _read_model(directory: Path) -> None:
    checkpoint = Checkpoint(directory, "mutant")
    read_generation_config(directory, checkpoint.config.n_vocab)
    for name, shape in checkpoint.config.tensor_shapes().items():
        tensor = checkpoint.read(name)
        if tensor.shape != shape or not np.isfinite(tensor).all():
            raise AssertionError(f"{name} was read with shape {tensor.shape}")


def _write_tokenizer(directory: Path) -> None:
    Tokenizer(_vocabulary()).write(directory)


def _vocabulary() -> Vocabulary:
    return train_vocabulary([TEXT], 300)


def _read_tokenizer(directory: Path) -> None:
    tokenizer = Tokenizer.from_files(directory)
    tokenizer.decode(tokenizer.encode(TEXT))


def _write_adapter(directory: Path) -> None:
    save_checkpoint(directory / "base", tiny_weights(n_vocab=7, n_ctx=4, n_embd=4, n_head=2, n_layer=1))
    pair = Pair(np.ones((1, 4), np.float32), np.ones((12, 1), np.float32))
    save_adapter(directory, Adapter(str(directory / "base"), 1, 2.0, ("c_attn",), {"h.0.attn.c_attn": pair}))


def _read_adapter(directory: Path) -> None:
    checkpoint = open_checkpoint(directory)
    for name in checkpoint.config.tensors:
        checkpoint.read(name)


def _write_corpus(directory: Path) -> None:
    text = directory / "text.txt"
    text.write_text(TEXT)
    prepare([text], directory / "corpus", tokenizer=Tokenizer(_vocabulary()), workers=1)


def _read_corpus(directory: Path) -> None:
    dataset = open_dataset(directory / "corpus")
    for name in dataset.manifest.splits:
        split = dataset.split(name)
        [split.ids[split.document(index)] for index in range(split.n_documents)]


def _write_lines(directory: Path) -> None:
    lines = ({"text": "A robot"}, {"text": " café"}, {"text": "机器人"})
    (directory / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _write_toml(directory: Path) -> None:
    (directory / "run.toml").write_text(
        'n_layer = 2\nmax_time = "30m"\ndata = ["a", "b"]\nlr = 0.004\ncompile = true\n'
    )


def _write_metrics(directory: Path) -> None:
    rows = [
        {"kind": "train", "step": step, "tokens": 8 * step, "loss": 2 / step, "lr": 0.1, "grad_norm": 1.0}
        for step in (1, 2)
    ]
    rows.append({"kind": "eval", "step": 2, "valid_loss": 1.0, "bits_per_byte": 0.5, "sample": "A robot"})
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _read_toml(directory: Path) -> None:
    TrainingConfig.from_document(read_toml(directory / "run.toml"))


KINDS = {
    "model": Kind(_write_model, _read_model),
    "tokenizer": Kind(_write_tokenizer, _read_tokenizer),
    "adapter": Kind(_write_adapter, _read_adapter),
    "corpus": Kind(_write_corpus, _read_corpus),
    "lines": Kind(_write_lines, lambda directory: list(read_texts([directory / "lines.jsonl"]))),
    "configuration": Kind(_write_toml, _read_toml),
    "metrics": Kind(_write_metrics, read_curves),
}


def broken_files(trials: int, seed: int = 1) -> Result:
    """Break one file after the other and read it; the sound one is put back each time."""
    result = Result()
    outcomes = {name: set[str]() for name in KINDS}
    with scratch() as place:
        for name, kind in KINDS.items():
            (place / name).mkdir()
            kind.write(place / name)
            kind.read(place / name)
        files = {name: sorted(_files(place / name)) for name in KINDS}
        tracemalloc.start()
        for number in range(trials):
            rng = random.Random(f"{seed} {number}")
            name = rng.choice(list(KINDS))
            path = rng.choice(files[name])
            sound = path.read_bytes()
            path.write_bytes(_mutated(rng, path, sound))
            outcome, problems = _outcome(KINDS[name], place / name)
            outcomes[name].add(outcome)
            result.add(f"file {number} of seed {seed}, {name}: {path.name}", problems)
            path.write_bytes(sound)
        tracemalloc.stop()
    one_sided = [name for name, found in outcomes.items() if len(found) < 2 and trials >= 100 * len(KINDS)]
    result.add("all kinds", [f"{name}: every mutant ended alike" for name in one_sided])
    return result


def _files(directory: Path) -> Iterator[Path]:
    yield from (path for path in directory.rglob("*") if path.is_file())


def _mutated(rng: random.Random, path: Path, data: bytes) -> bytes:
    if not data:
        return rng.randbytes(rng.randrange(9))
    if path.suffix == ".safetensors":
        return mutate_safetensors(rng, data)
    try:
        return mutate_json(rng, data) if path.suffix == ".json" else rng.choice(RAW)(rng, data)
    except (IndexError, AttributeError, ValueError):  # nothing of that sort is in the file
        return rng.choice(RAW)(rng, data)


def _outcome(kind: Kind, directory: Path) -> tuple[str, list[str]]:
    """Return "read" or "refused", and what is wrong with that."""
    began = time.monotonic()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    outcome = "read"
    problems = []
    try:
        kind.read(directory)
    except CutawayError as error:
        outcome = "refused"
        if len(str(error).splitlines()) != 1 or len(str(error)) > 1000:
            problems.append(f"not one line: {str(error)[:200]!r}")
    except Exception as error:  # noqa: BLE001 - a broken file must never be a bug
        problems.append(f"unexpected: {error!r}"[:300])
    if (grown := tracemalloc.get_traced_memory()[1] - before) > MEMORY:
        problems.append(f"{grown >> 20} MiB of memory")
    if (seconds := time.monotonic() - began) > SECONDS:
        problems.append(f"{seconds:.0f} s")
    return outcome, problems
