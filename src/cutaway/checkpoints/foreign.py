"""The tensors of nanoGPT, minGPT and transformers under GPT-2's names and in its orientation.

All three use OpenAI's tensor names, with prefixes that wrappers add. nanoGPT and minGPT store linear layers as
(out, in), which the shape of c_attn shows. A model without biases gets biases of zero. Stored attention masks are
dropped, and heads other than the language model's are left out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.checkpoints.directory import MASK, is_other_head
from cutaway.checkpoints.names import PREFIX
from cutaway.checkpoints.safetensors import FLOAT_CODES, TensorFile
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.formats import FLOAT32, StoredTensor
from cutaway.numerics import FloatArray
from cutaway.tensors import Shape, TensorSpec
from cutaway.untrusted import quote_name, quote_path, raise_checkpoint_error

WRAPPERS = ("_orig_mod.", "module.")  # prefixes of torch.compile and of DistributedDataParallel
PREFIXES = (*WRAPPERS, PREFIX)
HEAD = "lm_head.weight"
EMBEDDING = "wte.weight"
_PARAMETER = re.compile(r"(wte|wpe|ln_f|lm_head|h\.[0-9]+\..+)\.(weight|bias)")  # of a GPT-2 of any size
# Names in nanoGPT's model_args for our sizes.
SETTINGS = {"n_layer": "n_layer", "n_embd": "n_embd", "n_ctx": "block_size", "n_vocab": "vocab_size"}


@dataclass(frozen=True)
class Overrides:
    """Sizes given by the user: the number of heads, which no tensor's shape determines, and the number of tokens to
    keep of a padded vocabulary.
    """

    n_head: int | None = None
    n_vocab: int | None = None


@dataclass(frozen=True)
class ForeignWeights:
    """Weights read from a file under other names. `names` maps our names to the file's; missing tensors are zero."""

    config: GPT2Config
    file: TensorFile
    names: Mapping[str, str]
    turned: bool  # linear layers are stored as (out, in)
    dropped: tuple[str, ...]  # masks
    left_out: tuple[str, ...]  # tensors of other heads

    @property
    def dtype(self) -> str:
        codes = {self.file.entries[name].dtype for name in self.names.values()}
        return FLOAT_CODES[codes.pop()].name if len(codes) == 1 else FLOAT32.name

    def read(self, name: str) -> FloatArray:
        spec = self.config.tensors[name]
        if name not in self.names:
            return np.zeros(spec.shape, np.float32)
        tensor = self.file.read(self.names[name])
        if spec.transposed and self.turned:
            return np.ascontiguousarray(tensor.T)
        return tensor[: self.config.n_vocab] if spec.kind == "embedding" else tensor

    def stored(self, name: str) -> StoredTensor:
        return StoredTensor(self.config.tensors[name], FLOAT32, {"": self.read(name)})


def foreign_weights(
    source: Path,
    file: TensorFile,
    settings: Mapping[str, int],
    stated: GPT2Config | None = None,
    overrides: Overrides = Overrides(),
    skipped: Sequence[str] = (),
) -> ForeignWeights:
    """Find a GPT-2 in a file of tensors. Raises CheckpointError naming `source` if it is not one.

    `settings` are nanoGPT's `model_args`, and `stated` is the config of a `config.json` beside the file. The tensors
    must agree with both. `skipped` names tensors of the file that do not hold floats.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.checkpoints.safetensors import write_tensors
    >>> config = GPT2Config(n_vocab=5, n_ctx=3, n_embd=2, n_head=1, n_layer=1)
    >>> arrays = {f"_orig_mod.{name}": np.ones(spec.shape, np.float32) for name, spec in config.tensors.items()}
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory, "tensors")
    ...     write_tensors(path, {name: ("F32", array.shape) for name, array in arrays.items()}, arrays.items())
    ...     found = foreign_weights(Path("ckpt.pt"), TensorFile(path), {"n_head": 1}).config
    >>> found.n_layer, found.activation_function  # nanoGPT's GELU is the exact one
    (1, 'gelu')
    """
    all_names = _plain_names(source, file.entries)
    integers = _plain_names(source, skipped)
    masks = tuple(name for name in (*all_names, *integers) if MASK.fullmatch(name))
    left_out = tuple(name for name, stored in all_names.items() if is_other_head(_unwrapped(stored, WRAPPERS)))
    names = {name: stored for name, stored in all_names.items() if name not in masks}
    _check_floats(source, integers)
    config = _config(source, file, names, settings, stated, overrides)
    names = {name: stored for name, stored in names.items() if name not in left_out}
    if HEAD in names and config.tie_word_embeddings:
        del names[HEAD]
    turned = file.entries[names["h.0.attn.c_attn.weight"]].shape[0] != config.n_embd
    _check_names(source, names, config)
    for name, stored in names.items():
        _check_shape(source, config.tensors[name], file.entries[stored].shape, turned=turned, config=config)
    return ForeignWeights(config, file, names, turned, masks, left_out)


def _plain_names(source: Path, tensors: Iterable[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for stored in tensors:
        name = _unwrapped(stored, PREFIXES)
        if name in names:
            raise_checkpoint_error(source, f"{quote_name(name)} is there twice, under two prefixes")
        names[name] = stored
    return names


def _unwrapped(name: str, prefixes: tuple[str, ...]) -> str:
    while prefix := next(filter(name.startswith, prefixes), None):
        name = name.removeprefix(prefix)
    return name


def _check_floats(source: Path, integers: Iterable[str]) -> None:
    """Raise CheckpointError for a tensor of the language model that does not hold floats; masks need not."""
    for name in integers:
        if _PARAMETER.fullmatch(name) and not MASK.fullmatch(name):
            raise_checkpoint_error(
                source, f"{quote_name(name)} does not hold floats of 16, 32 or 64 bits; save the model unquantised"
            )


def _config(
    source: Path,
    file: TensorFile,
    names: Mapping[str, str],
    settings: Mapping[str, int],
    stated: GPT2Config | None,
    overrides: Overrides,
) -> GPT2Config:
    """Derive the sizes from the tensors' shapes; the number of heads must be stated elsewhere."""
    shapes = {name: file.entries[stored].shape for name, stored in names.items()}
    n_vocab, n_embd = _matrix(source, shapes, EMBEDDING)
    sizes: dict[str, Any] = {
        "n_vocab": n_vocab,
        "n_embd": n_embd,
        "n_ctx": _matrix(source, shapes, "wpe.weight")[0],
        "n_layer": len({name.split(".")[1] for name in names if name.startswith("h.") and name.count(".") > 1}),
    }
    _matrix(source, shapes, "h.0.attn.c_attn.weight")
    for field, size in sizes.items():
        claims = {"model_args": settings.get(SETTINGS[field]), "config.json": getattr(stated, field, None)}
        for where, claim in claims.items():
            if claim not in (None, size):
                raise_checkpoint_error(source, f"{where} says {field} is {claim}, but the tensors have {size}")
    if overrides.n_vocab is not None and not 0 < overrides.n_vocab <= n_vocab:
        raise UsageError(f"n_vocab must be from 1 to the {n_vocab} tokens that are there, not {overrides.n_vocab}")
    n_head = _find_heads(source, settings, stated, overrides)
    mathematics = stated or GPT2Config(activation_function="gelu" if settings else "gelu_new")  # nanoGPT's is exact
    try:
        return replace(
            mathematics,
            **sizes | {"n_vocab": overrides.n_vocab or n_vocab},
            n_head=n_head,
            n_inner=max(_matrix(source, shapes, "h.0.mlp.c_fc.weight"), key=lambda size: size != n_embd),
            tie_word_embeddings=_is_tied(source, file, names, stated),
        )
    except UsageError as error:
        raise_checkpoint_error(source, str(error))


def _matrix(source: Path, shapes: Mapping[str, Shape], name: str) -> Shape:
    if name not in shapes:
        example = quote_name(min(shapes, default="nothing"))
        raise_checkpoint_error(
            source, f"is not a GPT-2 of nanoGPT, minGPT or transformers: no {name} (it has {example})"
        )
    if len(shapes[name]) != 2 or 0 in shapes[name]:
        raise_checkpoint_error(source, f"{name} has the shape {shapes[name]}, but must be a matrix")
    return shapes[name]


def _find_heads(source: Path, settings: Mapping[str, int], stated: GPT2Config | None, overrides: Overrides) -> int:
    """Return the number of heads; all sources that state it must agree."""
    if overrides.n_head is not None and overrides.n_head < 1:
        raise UsageError(f"n_head must be a positive integer, not {overrides.n_head}")
    claims = {
        "--n-head": overrides.n_head,
        "model_args": settings.get("n_head"),
        "config.json": stated.n_head if stated else None,
    }
    claimed = [(where, claim) for where, claim in claims.items() if claim is not None]
    if not claimed:
        raise UsageError(f"{quote_path(source)} does not tell its number of heads: state it as --n-head N")
    first, n_head = claimed[0]
    for where, claim in claimed[1:]:
        if claim != n_head:
            raise_checkpoint_error(source, f"{where} says n_head is {claim}, but {first} says {n_head}")
    return n_head


def _is_tied(source: Path, file: TensorFile, names: Mapping[str, str], stated: GPT2Config | None) -> bool:
    """Return True if there is no head, or if the head is a copy of the embedding.

    Raises CheckpointError if `stated` ties a head that differs from the embedding.
    """
    if HEAD not in names:
        return True
    head = names[HEAD]
    embedding = names[EMBEDDING]
    if file.entries[head].shape != file.entries[embedding].shape:
        raise_checkpoint_error(source, f"{HEAD} has the shape {file.entries[head].shape}, unlike {EMBEDDING}")
    is_copy = all(np.array_equal(a, b) for a, b in zip(file.chunks(head), file.chunks(embedding), strict=True))
    if not is_copy and stated is not None and stated.tie_word_embeddings:
        raise_checkpoint_error(source, f"{HEAD} differs from {EMBEDDING}, but config.json says tie_word_embeddings")
    return is_copy


def _check_names(source: Path, names: Mapping[str, str], config: GPT2Config) -> None:
    for name in names:
        if name not in config.tensors:
            from difflib import get_close_matches

            near = get_close_matches(name[:80], config.tensors, n=1, cutoff=0)[0]
            raise_checkpoint_error(source, f"{quote_name(name)} is not a tensor of a GPT-2; did you mean {near}?")
    missing = [name for name in config.tensors if name not in names]
    biases = {name for name, spec in config.tensors.items() if spec.kind == "bias"}
    if missing and set(missing) != biases:  # all biases may be missing, together
        raise_checkpoint_error(source, f"{missing[0]} is missing")


def _check_shape(source: Path, spec: TensorSpec, shape: Shape, *, turned: bool, config: GPT2Config) -> None:
    expected = spec.shape[::-1] if turned and spec.transposed else spec.shape
    found = (config.n_vocab, *shape[1:]) if spec.kind == "embedding" else shape
    if found != expected:
        raise_checkpoint_error(source, f"{spec.name} has the shape {shape}, where {expected} is expected")
