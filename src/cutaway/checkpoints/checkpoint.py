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
from cutaway.checkpoints.metadata import ChatTemplate, Metadata
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

    `files` names the files with the weights, and `n_bytes` is their total size. `special_tokens` holds the special
    token ids of the config as written, and the tokenizer's class if the config names it. `left_out` names the tensors
    of heads other than the language model's. Opening validates everything that can be checked without reading the
    tensors; the tokenizer is read lazily. Raises CheckpointError, one line naming file, tensor and reason, unless the
    directory holds a valid GPT-2.
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
        """The matrices' format: "float32", "float16", "bfloat16" or "int8"; "float32" for a mix of float formats."""
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
        """Read the tokenizer beside the weights. Without one, return GPT-2's if the vocabulary has its size, else None.

        Raises CheckpointError for a malformed tokenizer, or one of an unsupported kind.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> open_checkpoint(BUILTIN).tokenizer().encode("A robot")
        [32, 9379]
        """
        return tokenizer_beside(self.path, self.config.n_vocab, self.tokenizer_class)

    def codec(self) -> TokenCodec | None:
        """Read the codec of the token ids: the music codec that `codec.json` names, or the tokenizer.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> open_checkpoint(BUILTIN).codec().label(9379)
        '␣robot'
        """
        return codec_beside(self.path) or self.tokenizer()

    def tokenizer_files(self) -> TokenCodec | TokenizerFiles | None:
        """Return an object that saves this checkpoint's tokenizer: its files, of any kind, or GPT-2's own.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> type(open_checkpoint(BUILTIN).tokenizer_files()).__name__
        '_Gpt2Tokenizer'
        """
        return tokenizer_files_beside(self.path, self.config.n_vocab, self.tokenizer_class)

    def side_files(self) -> dict[str, str]:
        """Read the `directory.SIDE_FILES` that exist: see `read_side_files`.

        >>> from cutaway.checkpoints import open_source
        >>> list(open_source("builtin").side_files()), list(open_source("builtin-translation").side_files())
        ([], ['task.toml'])
        """
        return read_side_files(self.path)

    def chat_template(self) -> ChatTemplate:
        """Read the chat template: see `read_template`.

        >>> from cutaway.checkpoints import open_source
        >>> open_source("builtin").chat_template()
        ChatTemplate(text='', error='')
        """
        return read_template(self.path)

    def metadata(self, tokenizer_error: str = "") -> Metadata:
        """Read the metadata beside the weights. If the tokenizer cannot be read, `tokenizer_error` is the reason, and
        the metadata holds its files too.

        >>> from cutaway.checkpoints import open_checkpoint
        >>> from cutaway.checkpoints.sources import BUILTIN
        >>> open_checkpoint(BUILTIN).metadata().special_tokens
        {'bos_token_id': 50256, 'eos_token_id': 50256}
        """
        generation_config = read_generation_json(self.path)
        files = TokenizerFiles.read(self.path) if tokenizer_error else None
        texts = self.side_files()
        return Metadata(self.special_tokens, generation_config, tokenizer_error, files, texts, self.chat_template())


def read_generation_json(directory: Path) -> dict[str, object]:
    """Read the `generation_config.json` of a directory, {} if there is none. Raises CheckpointError if it is invalid.

    >>> read_generation_json(Path("nowhere"))
    {}
    """
    path = directory / GENERATION_CONFIG
    return read_object(path) if path.exists() else {}


def read_side_files(directory: Path) -> dict[str, str]:
    """Read the `SIDE_FILES` that are in a directory, by name. Raises CheckpointError if one cannot be read.

    A chat template that cannot be read is left out, because a model works without one: see `read_template`.

    >>> read_side_files(Path("nowhere"))
    {}
    """
    texts: dict[str, str] = {}
    for path in (directory / name for name in SIDE_FILES):
        try:
            if path.exists():
                texts[path.name] = _read_text(path)
        except CheckpointError:
            if path.name != CHAT_TEMPLATE_FILE:
                raise
    return texts


def read_template(directory: Path) -> ChatTemplate:
    """Read the chat template of a directory, from its own file or else from `tokenizer_config.json`.

    >>> read_template(Path("nowhere"))
    ChatTemplate(text='', error='')
    """
    path = directory / CHAT_TEMPLATE_FILE
    if path.exists():
        try:
            return ChatTemplate(_read_text(path))
        except CheckpointError as error:
            return ChatTemplate(error=str(error))
    try:
        template = read_settings(directory).get("chat_template")
    except CheckpointError:  # reported when the tokenizer is read
        return ChatTemplate()
    return ChatTemplate(template) if isinstance(template, str) else ChatTemplate()


def _read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise_checkpoint_error(path, f"not UTF-8 at byte {error.start}")


def tokenizer_beside(directory: Path, n_vocab: int, tokenizer_class: str | None = None) -> FileTokenizer | None:
    """Read the tokenizer files in a directory. Without any, return GPT-2's tokenizer if it has `n_vocab` tokens, else
    None.

    `tokenizer_class` is the class that `config.json` names, if any. Raises CheckpointError for files that are invalid,
    or of an unsupported kind.

    >>> tokenizer_beside(Path("nowhere"), 50257).n_vocab
    50257
    """
    if any((directory / file).is_file() for file in ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt")):
        return read_tokenizer(directory, tokenizer_class)
    find_kind(directory, tokenizer_class)  # raises for an unsupported kind
    gpt2 = Tokenizer.gpt2()
    return gpt2 if gpt2.n_vocab == n_vocab else None


def tokenizer_files_beside(
    directory: Path, n_vocab: int, tokenizer_class: str | None = None
) -> TokenCodec | TokenizerFiles | None:
    """Return an object that saves the codec of a directory: a music codec, or the tokenizer's files as they are.

    Without either, return `tokenizer_beside` if `tokenizer_class` is supported, else None.

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
    except CheckpointError:  # only the class is unsupported, and `config.json` keeps it
        return None
