"""An opened checkpoint directory: `Weights` that are read lazily."""

from pathlib import Path

from cutaway.checkpoints.config_json import read_config
from cutaway.checkpoints.directory import (
    CHAT_TEMPLATE_FILE,
    CONFIG,
    GENERATION_CONFIG,
    SIDE_FILES,
    find_tensors,
    open_files,
)
from cutaway.checkpoints.metadata import Metadata
from cutaway.checkpoints.names import format_for
from cutaway.checkpoints.safetensors import FLOAT_CODES
from cutaway.errors import CheckpointError, UsageError
from cutaway.formats import FLOAT32, StoredTensor
from cutaway.music.codecs import codec_beside
from cutaway.numerics import FloatArray
from cutaway.tokenizer.codec import TokenCodec
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.files import TokenizerFiles, read_settings
from cutaway.tokenizer.kinds import find_kind
from cutaway.tokenizer.reading import FileTokenizer, read_tokenizer
from cutaway.untrusted import quote_name, raise_checkpoint_error, read_bytes, read_object


class Checkpoint:
    """The weights, hyperparameters and tokenizer of a checkpoint directory.

    `files` are the names of the files with the weights, and `n_bytes` is their size; `special_tokens` are the ids that
    the config names, as written, with the class of the tokenizer if it names one; `left_out` the tensors of heads that
    are not the language model's. Raises CheckpointError, one line naming file, tensor and reason, where the directory
    holds no sound GPT-2; all that can be known without reading the tensors is known when it is opened. Its tokenizer is
    not read before it is asked for.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory
        self.name = name
        if not (directory / CONFIG).exists():
            raise_checkpoint_error(directory, f"holds no checkpoint: {CONFIG} is missing")
        stored = read_config(directory / CONFIG)
        self.config = stored.config
        self.special_tokens = stored.special_tokens
        self.tokenizer_class = stored.tokenizer_class
        self._format = stored.format
        files = open_files(directory)
        self.files = tuple(file.path.name for file in files)
        self.n_bytes = sum(file.n_bytes for file in files)
        self._stored, self.left_out = find_tensors(files, stored, directory)

    @property
    def dtype(self) -> str:
        """The matrices' format: "float32", "float16", "bfloat16" or "int8"; of several floats "float32"."""
        if self._format.quantization:
            return self._format.name
        codes = {self._stored[name].entry.dtype for name in self.config.tensors}
        return FLOAT_CODES[codes.pop()].name if len(codes) == 1 else FLOAT32.name

    def read(self, name: str) -> FloatArray:
        """Read a tensor as a fresh float32 array. Raises CheckpointError if it cannot be read or is not finite.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> checkpoint = open_checkpoint(BUILTIN)
        >>> checkpoint.read("ln_f.bias").shape == (checkpoint.config.n_embd,)
        True
        """
        return self.stored(name).dequantise()

    def stored(self, name: str) -> StoredTensor:
        """Read a tensor in its stored format. Raises CheckpointError if it cannot be read or is invalid.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> stored = open_checkpoint(BUILTIN).stored("h.0.mlp.c_fc.weight")
        >>> stored.format.name, list(stored.arrays)
        ('int8', ['', '.scales', '.input_scales'])
        """
        if name not in self.config.tensors:
            raise UsageError(f"{quote_name(name)} is not a tensor of this GPT-2")
        spec = self.config.tensors[name]
        stored_format = format_for(spec, self._format)
        if not stored_format.quantization:
            return StoredTensor(spec, FLOAT32, {"": self._stored[name].read()})
        suffixes = stored_format.layout(spec)
        arrays = {suffix: self._stored[name + suffix].read_unchecked() for suffix in suffixes}
        try:
            return stored_format.load(spec, arrays)
        except UsageError as error:
            raise_checkpoint_error(self._stored[name].file.path, str(error))

    def tokenizer(self) -> FileTokenizer | None:
        """Read the tokenizer beside the weights; without one GPT-2's own if the vocabulary has its size, else None.

        Raises CheckpointError for a tokenizer that is malformed, or of a kind that is not read.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> open_checkpoint(BUILTIN).tokenizer().encode("A robot")
        [32, 9379]
        """
        return tokenizer_beside(self.path, self.config.n_vocab, self.tokenizer_class)

    def codec(self) -> TokenCodec | None:
        """Read what the ids stand for: the music codec that `codec.json` names, or the tokenizer.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> open_checkpoint(BUILTIN).codec().label(9379)
        '␣robot'
        """
        return codec_beside(self.path) or self.tokenizer()

    def tokenizer_files(self) -> TokenCodec | TokenizerFiles | None:
        """Return what writes the tokenizer of this checkpoint: its files, of whatever kind, or GPT-2's own.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> type(open_checkpoint(BUILTIN).tokenizer_files()).__name__
        '_Gpt2Tokenizer'
        """
        return tokenizer_files_beside(self.path, self.config.n_vocab, self.tokenizer_class)

    def side_files(self) -> dict[str, str]:
        """Read the texts of those of `directory.SIDE_FILES` that there are: see `read_side_files`.

        >>> from cutaway.checkpoints import open_source
        >>> list(open_source("builtin").side_files()), list(open_source("builtin-translation").side_files())
        ([], ['task.toml'])
        """
        return read_side_files(self.path)

    def chat_template(self) -> str:
        """Return the chat template: see `find_template`.

        >>> from cutaway.checkpoints import open_source
        >>> open_source("builtin").chat_template()
        ''
        """
        return find_template(self.path)

    def template_error(self) -> str:
        """Return why the chat template cannot be read, "" if it can or there is none.

        >>> from cutaway.checkpoints import open_source
        >>> open_source("builtin").template_error()
        ''
        """
        return find_template_error(self.path)

    def metadata(self, tokenizer_error: str = "") -> Metadata:
        """Read what is beside the weights; with the reason why the tokenizer cannot be read, its files too.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> open_checkpoint(BUILTIN).metadata().special_tokens
        {'bos_token_id': 50256, 'eos_token_id': 50256}
        """
        generation_config = read_generation_json(self.path)
        files = TokenizerFiles.read(self.path) if tokenizer_error else None
        texts = self.side_files()
        return Metadata(
            self.special_tokens,
            generation_config,
            tokenizer_error,
            files,
            texts,
            self.chat_template(),
            self.template_error(),
        )


def read_generation_json(directory: Path) -> dict[str, object]:
    """Read the `generation_config.json` of a directory, {} if there is none. Raises CheckpointError if it is invalid.

    >>> read_generation_json(Path("nowhere"))
    {}
    """
    path = directory / GENERATION_CONFIG
    return read_object(path) if path.exists() else {}


def read_side_files(directory: Path) -> dict[str, str]:
    """Read the texts of those of `SIDE_FILES` that are in a directory. Raises CheckpointError if one cannot be read.

    A chat template that cannot be read is left out, as a model can do without: see `find_template_error`.

    >>> read_side_files(Path("nowhere"))
    {}
    """
    left_out = CHAT_TEMPLATE_FILE if find_template_error(directory) else ""
    paths = [directory / name for name in SIDE_FILES if name != left_out]
    return {path.name: _read_text(path) for path in paths if path.exists()}


def find_template(directory: Path) -> str:
    """Return the chat template in a directory, of its own file or else of `tokenizer_config.json`; "" if there is none,
    or none that can be read.

    >>> find_template(Path("nowhere"))
    ''
    """
    if (directory / CHAT_TEMPLATE_FILE).exists():
        return read_side_files(directory).get(CHAT_TEMPLATE_FILE, "")
    try:
        template = read_settings(directory).get("chat_template")
    except CheckpointError:  # which whoever needs the tokenizer is told
        return ""
    return template if isinstance(template, str) else ""


def find_template_error(directory: Path) -> str:
    """Return in one line why the chat template in a directory cannot be read, "" if it can or there is none.

    >>> find_template_error(Path("nowhere"))
    ''
    """
    path = directory / CHAT_TEMPLATE_FILE
    try:
        if path.exists():
            _read_text(path)
    except CheckpointError as error:
        return str(error)
    return ""


def _read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise_checkpoint_error(path, f"not UTF-8 at byte {error.start}")


def tokenizer_beside(directory: Path, n_vocab: int, tokenizer_class: str | None = None) -> FileTokenizer | None:
    """Read the tokenizer of the files in a directory; without any GPT-2's own if it has `n_vocab` tokens, else None.

    `tokenizer_class` is the kind that `config.json` names, if any. Raises CheckpointError for files that are invalid,
    or of a kind that is not read.

    >>> tokenizer_beside(Path("nowhere"), 50257).n_vocab
    50257
    """
    if any((directory / file).is_file() for file in ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt")):
        return read_tokenizer(directory, tokenizer_class)
    find_kind(directory, tokenizer_class)  # none that is not read
    gpt2 = Tokenizer.gpt2()
    return gpt2 if gpt2.n_vocab == n_vocab else None


def tokenizer_files_beside(
    directory: Path, n_vocab: int, tokenizer_class: str | None = None
) -> TokenCodec | TokenizerFiles | None:
    """Return what writes the codec of a directory: a music codec, the tokenizer's files as they are, or without any
    `tokenizer_beside`, if `tokenizer_class` is one that is read.

    >>> type(tokenizer_files_beside(Path("nowhere"), 50257)).__name__
    '_Gpt2Tokenizer'
    """
    music = codec_beside(directory)
    if music is not None:
        return music
    files = TokenizerFiles.read(directory)
    if files.contents:
        return files
    try:
        return tokenizer_beside(directory, n_vocab, tokenizer_class)
    except CheckpointError:  # the class alone says so, and `config.json` keeps it
        return None
