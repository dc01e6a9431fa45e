"""The files and tensors of a checkpoint directory. Shapes and dtypes are checked before any tensor is read.

Directories are Hugging Face's: `config.json` and `model.safetensors`, or several files that
`model.safetensors.index.json` lists.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cutaway.checkpoints.config_json import StoredConfig
from cutaway.checkpoints.names import PREFIX, stored_as
from cutaway.checkpoints.safetensors import FLOAT_CODES, TensorEntry, TensorFile
from cutaway.formats import Array, StoredAs
from cutaway.numerics import FloatArray
from cutaway.untrusted import quote, quote_name, quote_path, raise_checkpoint_error, read_object

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
GENERATION_CONFIG = "generation_config.json"
TASK = "task.toml"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
SIDE_FILES = (TASK, CHAT_TEMPLATE_FILE)  # they describe what a model has learned; copied unchanged
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{,199}\.safetensors")  # a plain name: no folders, no hidden files
_MAX_OPEN = 8  # files of a checkpoint that stay open; if there are more, each is opened for each read
# Attention masks that transformers once stored with the weights; they are constants of GPT-2.
MASK = re.compile(r"h\.[0-9]+\.attn\.(bias|masked_bias)")
# First components of the language model's tensor names; all others belong to another head ("v_head.", "score.").
_LANGUAGE_MODEL = ("transformer", "wte", "wpe", "h", "ln_f", "lm_head")
_NAME = re.compile(r"[A-Za-z_]\w{,99}(\.\w{1,99}){1,9}", re.ASCII)
_FORMER_SUFFIX = ".columns"  # of input scales, in int8 files of Cutaway 0.1
_HEAD = "lm_head.weight"
_EMBEDDING = "wte.weight"


class Location(NamedTuple):
    """A stored array: its file, and its name in the file."""

    file: TensorFile
    name: str

    @property
    def entry(self) -> TensorEntry:
        return self.file.entries[self.name]

    def read(self) -> FloatArray:
        """Read the tensor as float32. Raises CheckpointError if it holds NaN or infinity."""
        return self.file.read(self.name)

    def read_unchecked(self) -> Array:
        """Read the tensor in its own dtype."""
        return self.file.read_unchecked(self.name)


Locations = dict[str, Location]  # by the tensors' names without prefix


def open_files(directory: Path) -> list[TensorFile]:
    """Open the files with the weights. Raises CheckpointError if there are none or an index lists others.

    >>> from cutaway.checkpoints.sources import BUILTIN
    >>> [file.path.name for file in open_files(BUILTIN)]
    ['model.safetensors']
    """
    if (directory / WEIGHTS).exists():
        return [TensorFile(directory / WEIGHTS)]
    if not (directory / INDEX).exists():
        for path in sorted(directory.glob("pytorch_model*.bin")):
            raise_checkpoint_error(
                path,
                "is a pickle, which can run code, and is never loaded; "
                f"`cutaway convert {quote_path(path)} DIRECTORY --allow-pickle` converts it",
            )
        raise_checkpoint_error(directory, f"holds no {WEIGHTS}")
    return _open_shards(directory)


def _open_shards(directory: Path) -> list[TensorFile]:
    index = directory / INDEX
    listed = read_object(index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise_checkpoint_error(index, f"weight_map must say which file each tensor is in, not {quote(listed)}")
    for name, shard in listed.items():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise_checkpoint_error(
                index, f"{quote_name(name)} must be in a .safetensors file of this directory, not in {quote(shard)}"
            )
    shards = sorted(set(listed.values()))
    keep_open = len(shards) <= _MAX_OPEN
    return [TensorFile(directory / shard, keep_open=keep_open) for shard in shards]


def find_tensors(files: list[TensorFile], stored: StoredConfig, directory: Path) -> tuple[Locations, tuple[str, ...]]:
    """Locate every stored array; return also the names of tensors of other heads, which are left out.

    As in transformers, the index only lists the files; their headers list the tensors. Raises CheckpointError unless
    names, shapes and dtypes match the config.

    >>> from cutaway.checkpoints.config_json import read_config
    >>> from cutaway.checkpoints.sources import BUILTIN
    >>> found, left_out = find_tensors(open_files(BUILTIN), read_config(BUILTIN / CONFIG), BUILTIN)
    >>> found["ln_f.bias"].name, found["ln_f.bias"].entry.dtype, left_out
    ('transformer.ln_f.bias', 'F32', ())
    """
    found = _locations(files)
    left_out = tuple(name for name, location in found.items() if is_other_head(location.name))
    for name in left_out:
        del found[name]
    config = stored.config
    if config.n_layer > len(found):  # first, or a malicious number of layers would build a huge list of tensors
        raise_checkpoint_error(
            directory / CONFIG, f"n_layer is {config.n_layer}, but the files hold only {len(found)} tensors"
        )
    quantised = stored.format.quantization is not None
    expected = {name: kind for arrays in stored_as(config, stored.format).values() for name, kind in arrays.items()}
    head_is_copy = config.tie_word_embeddings and not quantised and _HEAD in found
    if head_is_copy:
        expected[_HEAD] = expected[_EMBEDDING]
    _check_names(found, expected, directory)
    for name, kind in expected.items():
        _check_kind(found[name], kind, any_float=not quantised)
    if head_is_copy:
        _check_copy(found.pop(_HEAD), found[_EMBEDDING])
    return found, left_out


def is_other_head(name: str) -> bool:
    """Return True if a tensor belongs to a head other than the language model's.

    >>> is_other_head("v_head.summary.weight"), is_other_head("transformer.h.0.attn.c_atn.weight")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None and name.split(".", 1)[0] not in _LANGUAGE_MODEL


def _locations(files: list[TensorFile]) -> Locations:
    """Locate all arrays except stored masks."""
    found: Locations = {}
    for file in files:
        for stored_name in file.entries:
            name = stored_name.removeprefix(PREFIX)
            if name.endswith(_FORMER_SUFFIX):
                name = name.removesuffix(_FORMER_SUFFIX) + ".input_scales"
            if name in found:
                raise_checkpoint_error(
                    file.path, f"{quote_name(name)} is stored twice, with and without the prefix {PREFIX}"
                )
            if not MASK.fullmatch(name):
                found[name] = Location(file, stored_name)
    return found


def _check_names(found: Locations, expected: dict[str, StoredAs], directory: Path) -> None:
    for name, location in found.items():
        if name not in expected:
            from difflib import get_close_matches  # not needed for a first token

            near = get_close_matches(name[:80], expected, n=1, cutoff=0)[0]
            raise_checkpoint_error(
                location.file.path, f"{quote_name(name)} is not a tensor of the GPT-2 in {CONFIG}; did you mean {near}?"
            )
    for name in expected:
        if name not in found:
            files = {location.file.path for location in found.values()}
            raise_checkpoint_error(files.pop() if len(files) == 1 else directory, f"{name} is missing")


def _check_kind(location: Location, kind: StoredAs, *, any_float: bool) -> None:
    dtype, shape = kind
    entry = location.entry
    path = location.file.path
    if entry.shape != shape:
        raise_checkpoint_error(path, f"{location.name} has the shape {entry.shape}, but {CONFIG} asks for {shape}")
    allowed = tuple(FLOAT_CODES) if any_float else (dtype,)
    if entry.dtype not in allowed:
        raise_checkpoint_error(path, f"{location.name} is stored as {entry.dtype}, and not as {' or '.join(allowed)}")


def _check_copy(head: Location, embedding: Location) -> None:
    """Check that a tied head that is stored anyway equals the embedding."""
    for ours, theirs in zip(head.file.chunks(head.name), embedding.file.chunks(embedding.name), strict=True):
        if not np.array_equal(ours, theirs):
            raise_checkpoint_error(
                head.file.path, f"{head.name} differs from {embedding.name}, but {CONFIG} says tie_word_embeddings"
            )
