"""A loaded GPT-2, as `cutaway.load` returns it: text or token ids in; text, scores and logits out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from cutaway.checkpoints import EffectiveWeights, Weights, save_checkpoint
from cutaway.checkpoints.config_json import known_ids
from cutaway.checkpoints.metadata import Metadata
from cutaway.checks import check_int, show
from cutaway.config import GPT2Config
from cutaway.engines.protocol import Engine, check_finite
from cutaway.errors import CheckpointError, UsageError
from cutaway.evaluation.evaluate import score_windows
from cutaway.evaluation.perplexity import Score, total
from cutaway.generation.batch import MAX_SEQUENCES, generate
from cutaway.generation.config import GenerationConfig
from cutaway.generation.config_json import generation_config_json
from cutaway.generation.prompt_cache import PromptCache
from cutaway.generation.sampling import TokenMask
from cutaway.generation.stream import Chunk, Completion, collect, without_leading_space
from cutaway.numerics import FloatArray, softmax, top_k
from cutaway.tokenizer.codec import Codec, TokenCodec
from cutaway.untrusted import quote

if TYPE_CHECKING:  # not needed for a first token
    from cutaway.data.chat import Message
    from cutaway.data.chat_forms import ChatForm
    from cutaway.tasks import Task, TaskEncoder
    from cutaway.trace import Intervention, Progress, Trace

Prompt = str | Sequence[int]


@dataclass(frozen=True)
class Candidate:
    """A token that may come next."""

    id: int
    text: str
    probability: float


class Model:
    """A GPT-2 and the codec of its token ids. Without a codec for text, it takes and returns token ids only.

    `tokenizer` is the codec if it is for text, else None.
    """

    def __init__(
        self,
        engine: Engine,
        weights: Weights,
        codec: TokenCodec | None,
        name: str,
        generation_config: GenerationConfig = GenerationConfig(),
        metadata: Metadata | None = None,
    ) -> None:
        self.engine = engine
        self.codec = codec
        self.tokenizer = codec if isinstance(codec, Codec) else None
        self.name = name
        self.generation_config = generation_config  # the defaults of `generate`, which a checkpoint may set
        self.metadata = metadata or Metadata()  # what the checkpoint holds besides its weights
        self.weights = EffectiveWeights(weights, engine.dtype)
        self._replies = PromptCache(engine, self.codec)

    def __repr__(self) -> str:
        """Describe the model in one line: `<Model builtin: 9 layers, 6 heads, 384 wide, int8 on cpu>`."""
        config = self.config
        shape = f"{config.n_layer} layers, {config.n_head} heads, {config.n_embd} wide"
        return f"<Model {self.name}: {shape}, {self.engine.dtype} on {self.engine.name}>"

    @property
    def config(self) -> GPT2Config:
        return self.engine.config

    def save(self, directory: str | Path, dtype: str | None = None, *, overwrite: bool = False) -> None:
        """Write a checkpoint directory with the model's weights, tokenizer and generation config.

        `dtype` is "float32", "float16", "bfloat16" or "int8", by default the engine's. A checkpoint in `directory` is
        replaced only with `overwrite`. Raises UsageError for invalid arguments, CheckpointError if it cannot be saved.

        >>> from tempfile import TemporaryDirectory
        >>> import cutaway
        >>> with TemporaryDirectory() as directory:
        ...     cutaway.load("builtin-piano").save(f"{directory}/pianist", "float16")
        ...     cutaway.load(f"{directory}/pianist").name
        'pianist'
        """
        save_checkpoint(
            directory,
            self.weights,
            dtype,
            tokenizer=self.codec or self.metadata.tokenizer_files,
            generation_config=generation_config_json(self.generation_config, self.metadata.generation_config),
            special_tokens=self.metadata.special_tokens or None,
            side_files=self.metadata.side_files,
            overwrite=overwrite,
        )

    @overload
    def generate(
        self,
        prompt: Prompt = "",
        config: GenerationConfig | None = None,
        *,
        samples: None = None,
        mask: TokenMask | None = None,
        **overrides: object,
    ) -> Completion: ...

    @overload
    def generate(
        self,
        prompt: Prompt = "",
        config: GenerationConfig | None = None,
        *,
        samples: int,
        mask: TokenMask | None = None,
        **overrides: object,
    ) -> list[Completion]: ...

    def generate(
        self,
        prompt: Prompt = "",
        config: GenerationConfig | None = None,
        *,
        samples: int | None = None,
        mask: TokenMask | None = None,
        **overrides: object,
    ) -> Completion | list[Completion]:
        """Continue a prompt: once, or `samples` times, as a list. An empty prompt starts a new text.

        The settings are those of `config`, or else of `model.generation_config`, with the fields in `overrides`
        replaced: see `GenerationConfig`. `mask` is called before each token and says which tokens are allowed, such as
        the grammar of music (`cutaway.music.grammar.mask_of`). Sample i uses the seed `seed + i`, which its result
        reports. Raises UsageError for invalid settings and for a prompt longer than the context.

        >>> import cutaway
        >>> model = cutaway.load("builtin")
        >>> model.generate("A robot must obey", temperature=0, max_new_tokens=3).finish_reason
        'length'
        """
        completions = self.generate_batch(
            [prompt], config, samples=1 if samples is None else samples, mask=mask, **overrides
        )
        return completions[0] if samples is None else completions

    def stream(
        self,
        prompt: Prompt = "",
        config: GenerationConfig | None = None,
        *,
        mask: TokenMask | None = None,
        **overrides: object,
    ) -> Iterator[Chunk]:
        """Continue a prompt as `generate` does, a chunk at a time.

        >>> import cutaway
        >>> chunks = cutaway.load().stream("A robot must obey", max_new_tokens=5, ignore_eos=True)
        >>> [len(chunk.ids) for chunk in chunks]
        [1, 1, 1, 1, 1]
        """
        settings = self.settings(config, **overrides)
        return (chunk for _, chunk in self.stream_batch([prompt], settings, mask=mask))

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig | None = None,
        *,
        samples: int = 1,
        mask: TokenMask | None = None,
        **overrides: object,
    ) -> list[Completion]:
        """Continue each prompt `samples` times, reading it once; all samples of the first prompt come first.

        There may be at most 4,096 sequences: each keeps logits over the whole vocabulary in memory. Sequence i uses the
        seed `seed + i`, and `generate` with that seed returns the same text.

        >>> import cutaway
        >>> model = cutaway.load()
        >>> completions = model.generate_batch(["A robot", "Once"], samples=2, max_new_tokens=3, seed=7)
        >>> [completion.seed for completion in completions]
        [7, 8, 9, 10]
        """
        config = self.settings(config, **overrides)
        seeds = self._seeds(prompts, samples, config)
        return collect(self._generate(prompts, config, seeds, mask), seeds, self.description)

    def stream_batch(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig | None = None,
        *,
        samples: int = 1,
        mask: TokenMask | None = None,
        **overrides: object,
    ) -> Iterator[tuple[int, Chunk]]:
        """Continue prompts as `generate_batch` does; yield (sequence, chunk) pairs in the order of generation.

        >>> import cutaway
        >>> chunks = cutaway.load().stream_batch(["A robot", "Once"], max_new_tokens=2, ignore_eos=True)
        >>> [sequence for sequence, chunk in chunks]
        [0, 1, 0, 1]
        """
        config = self.settings(config, **overrides)
        return self._generate(prompts, config, self._seeds(prompts, samples, config), mask)

    def chat(
        self, messages: Sequence["Message"], config: GenerationConfig | None = None, **overrides: object
    ) -> Completion:
        """Reply to a conversation, formatted as the model's chat template says: see `cutaway.data.chat_forms`.

        Without a template, messages are formatted as `cutaway finetune` formats {"messages"}. Each message has a "role"
        (system, user or assistant) and "content". The oldest messages are dropped if they do not fit the context: see
        `fit_messages`. Raises UsageError as `generate` does, and for invalid messages.

        >>> import cutaway
        >>> reply = cutaway.load().chat([{"role": "user", "content": "Who are you?"}], max_new_tokens=5)
        >>> reply.text == reply.text.strip()
        True
        """
        settings = self.settings(config, **overrides)
        seed = settings.pick_seed()
        chunks = self._reply(messages, settings.replace(seed=seed))
        [completion] = collect(((0, chunk) for chunk in chunks), [seed], self.description)
        return replace(completion, text=completion.text.strip())

    def stream_chat(
        self, messages: Sequence["Message"], config: GenerationConfig | None = None, **overrides: object
    ) -> Iterator[Chunk]:
        """Reply as `chat` does, a chunk at a time; trailing white space is kept.

        >>> import cutaway
        >>> messages = [{"role": "user", "content": "Who are you?"}]
        >>> chunks = cutaway.load().stream_chat(messages, max_new_tokens=5, ignore_eos=True)
        >>> len([*chunks])
        5
        """
        return without_leading_space(self._reply(messages, self.settings(config, **overrides)))

    def fit_messages(
        self, messages: Sequence["Message"], config: GenerationConfig | None = None, **overrides: object
    ) -> list["Message"]:
        """Return the messages that `chat` reads: as many as leave room in the context for `max_new_tokens`, or for half
        of the context if that is less.

        The oldest exchanges are dropped first; the system message stays. Raises UsageError for invalid messages, and if
        the last message is too long for the context, unless `context_shift` cuts it.

        >>> import cutaway
        >>> model = cutaway.load()
        >>> long = [{"role": "user", "content": "A robot must obey. " * 300}, {"role": "user", "content": "Why?"}]
        >>> model.fit_messages(long)
        [{'role': 'user', 'content': 'Why?'}]
        """
        from cutaway.data.chat import fit_messages, parse_messages

        n_ctx = self.config.n_ctx
        settings = self.settings(config, **overrides)
        room = max(n_ctx - settings.max_new_tokens, n_ctx // 2)
        kept = fit_messages(parse_messages(messages), lambda kept: len(self._prompt(kept)) <= room)
        length = len(self._prompt(kept))
        if length > n_ctx and not settings.context_shift:
            raise UsageError(
                f"the prompt is {length:,} tokens long without earlier messages; the context holds {n_ctx:,};"
                " shorten the last message or the system message"
            )
        return kept

    def _reply(self, messages: Sequence["Message"], config: GenerationConfig) -> Iterator[Chunk]:
        prompt = self._prompt(self.fit_messages(messages, config))
        return self._replies.stream(prompt, config.replace(stop=[*config.stop, *self._chat_form.stops]))

    def _prompt(self, messages: Sequence["Message"]) -> list[int]:
        end = None if self.codec is None else self.codec.eos
        return self._chat_form.prompt(messages, self.encode, end)

    @cached_property
    def _chat_form(self) -> "ChatForm":
        from cutaway.data.chat_forms import PARAGRAPHS, find_form  # not needed for a first token

        return find_form(self.metadata.chat_template.text) or PARAGRAPHS

    @property
    def description(self) -> str:
        """The engine and its precision: "cpu int8"."""
        return f"{self.engine.name} {self.engine.dtype}"

    def score(self, text: Prompt, *, prepend_bos: bool | None = None) -> Score:
        """Score how well the model predicts a text, with float32 activations.

        A text is read after the start token, so that its first token is scored too. With token ids, or with
        `prepend_bos=False`, the first token is read but not scored. Bytes are counted for tokens that have text. Texts
        longer than the context are read in overlapping windows: see `cutaway.evaluation.perplexity`. Raises UsageError
        if there is no token to score.

        >>> import cutaway
        >>> cutaway.load().score("A robot must obey the orders given it").tokens
        8
        """
        ids = self.input_ids(text, prepend_bos)
        if len(ids) < 2:
            raise UsageError("nothing to score: the text is empty, or a single token with none before it")
        return total(score_windows(self, ids))

    def logits(self, prompt: Prompt, *, prepend_bos: bool | None = None) -> FloatArray:
        """Compute the logits after each of T tokens, float32 (T, vocab), with float32 activations.

        The tokens are those of `input_ids`. Raises UsageError if T exceeds the context.

        >>> import cutaway
        >>> cutaway.load().logits("A robot").shape
        (3, 50257)
        """
        return check_finite(self.engine.forward([self.input_ids(prompt, prepend_bos)], logits="all", exact=True))

    def next_tokens(self, prompt: Prompt = "", k: int = 10) -> list[Candidate]:
        """Return the k most likely next tokens with their probabilities over the whole vocabulary, most likely first.

        >>> import cutaway
        >>> first, second = cutaway.load("builtin").next_tokens("A robot must obey the", k=2)
        >>> first.probability >= second.probability
        True
        """
        check_int("k", k, 1, self.config.n_vocab)
        logits = check_finite(self.engine.forward([self.prompt_ids(prompt)], exact=True))[0]
        probabilities = softmax(logits.astype(np.float64))
        likeliest = top_k(probabilities, k)
        return [Candidate(int(i), self._text_or_label(int(i)), float(probabilities[i])) for i in likeliest]

    def trace(
        self,
        prompt: Prompt,
        *interventions: "Intervention",
        prepend_bos: bool | None = None,
        progress: "Progress | None" = None,
        n_prefix: int | None = None,
    ) -> "Trace":
        """Trace a text: every intermediate tensor by its name.

        The first `n_prefix` tokens see each other; the default is the prefix of the model's task (`Model.n_prefix`).

        The tokens are those of `input_ids`; see `cutaway.trace` for what a trace can do. The reference engine computes
        it with float32 activations, from the weights that the model's engine uses.

        >>> import cutaway
        >>> trace = cutaway.load().trace("A robot must obey the orders given it")
        >>> trace["attn.3"].shape
        (6, 9, 9)
        """
        from cutaway.trace import Trace

        ids = self.input_ids(prompt, prepend_bos)
        seen = self.n_prefix(ids) if n_prefix is None else n_prefix
        return Trace(self.config, self.weights, self.codec, ids, interventions, progress=progress, n_prefix=seen)

    def trace_example(
        self, fields: Mapping[str, str], *interventions: "Intervention", progress: "Progress | None" = None
    ) -> "Trace":
        """Trace an example of the model's task, as it is decoded; without a target in `fields`, the model writes one.

        Raises UsageError if the model has learned no task, and as `TaskEncoder.encode` does.

        >>> import cutaway
        >>> cutaway.load().trace_example({"source": "I am hungry."})
        Traceback (most recent call last):
        cutaway.errors.UsageError: builtin has no task.toml: train one with `cutaway train --task`, or name a task
        """
        from cutaway.tasks.decoding import decode_fields

        encoder = self.encoder()
        if encoder.task.target in fields:
            ids = encoder.encode(fields).ids.tolist()
        else:
            [[output]] = decode_fields(self.engine, encoder, [fields])
            ids = [*encoder.prompt(fields), *output.ids]
        n_prefix = encoder.n_prefix(encoder.prompt(fields))
        return self.trace(ids[: self.config.n_ctx], *interventions, progress=progress, n_prefix=n_prefix)

    def n_prefix(self, ids: Sequence[int]) -> int:
        """Return how many of the first tokens see each other in the model's task; 0 without a task.

        >>> import cutaway
        >>> cutaway.load().n_prefix([32, 9379])
        0
        """
        task = self.task
        return 0 if task is None or self.tokenizer is None else self.encoder(task).find_prefix(ids)

    def input_ids(self, prompt: Prompt, prepend_bos: bool | None = None) -> list[int]:
        """Return the token ids that `score`, `logits` and `trace` read.

        A text gets the model's start token before it, if there is one: every document that the model was trained on
        began with it (`<|endoftext|>` for GPT-2). Token ids are read as given. `prepend_bos` overrides both. An empty
        prompt becomes the start token alone. Raises UsageError if a start token is needed and the model has none.

        >>> import cutaway
        >>> model = cutaway.load()
        >>> model.input_ids("A robot"), model.input_ids([32, 9379]), model.input_ids("")
        ([50256, 32, 9379], [32, 9379], [50256])
        """
        ids = self.encode(prompt)
        wants_bos = isinstance(prompt, str) and self.bos is not None if prepend_bos is None else prepend_bos
        return [self._start(self.bos), *ids] if wants_bos or not ids else ids

    def encode(self, prompt: Prompt, *, allow_special: bool = False) -> list[int]:
        """Return the token ids of a text; ids pass through. "<|endoftext|>" is a control token only with
        `allow_special`.

        An empty text has no ids, even if the model has no tokenizer.

        >>> import cutaway
        >>> cutaway.load().encode("A robot<|endoftext|>", allow_special=True)
        [32, 9379, 50256]
        """
        if not isinstance(prompt, str):
            return self._checked_ids(prompt)
        if not prompt:
            return []
        return self.check_known(self.require_tokenizer().encode(prompt, allow_special=allow_special))

    def check_known(self, ids: list[int]) -> list[int]:
        """Return the tokenizer's ids unchanged. Raises UsageError for a token outside the model's vocabulary.

        >>> import cutaway
        >>> cutaway.load().check_known([50257])
        Traceback (most recent call last):
        cutaway.errors.UsageError: the token '#50257' has the id 50257, but builtin knows ids from 0 to 50256 only
        """
        for token in ids:
            if token >= self.config.n_vocab:
                label = self.require_tokenizer().label(token)
                known = f"{self.name} knows ids from 0 to {self.config.n_vocab - 1} only"
                raise UsageError(f"the token {quote(label)} has the id {token}, but {known}")
        return ids

    def _checked_ids(self, prompt: Sequence[int]) -> list[int]:
        if isinstance(prompt, bytes | bytearray) or not hasattr(prompt, "__iter__"):
            raise UsageError(f"a prompt must be text or token ids, not {show(prompt)}")
        ids = list(prompt)
        if any(isinstance(each, str | Sequence) or getattr(each, "ndim", 0) for each in ids):
            raise UsageError(f"give one text or its token ids, not {show(prompt)}; generate_batch takes several")
        return [check_int("a token id", token, 0, self.config.n_vocab - 1) for token in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids; it is empty for ids without a token, and for a model without a tokenizer.

        >>> import cutaway
        >>> cutaway.load().decode([32, 9379])
        'A robot'
        """
        ids = self._checked_ids(ids)
        if self.tokenizer is None:
            return ""
        stream = self.tokenizer.stream()
        return "".join(map(stream.push, ids)) + stream.finish()

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token; they are empty for an id without a token, and for a model without a tokenizer.

        >>> import cutaway
        >>> cutaway.load().token_bytes(9379)
        b' robot'
        """
        return (self.tokenizer.token_bytes(token) if self.tokenizer else None) or b""

    def _text_or_label(self, token: int) -> str:
        """Return the text of a token, or its label if ids are not text."""
        if self.codec is not None and self.tokenizer is None:
            return self.codec.label(token)
        return self.decode([token])

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Return the token ids of a prompt; an empty prompt becomes the start token, `<|endoftext|>` for GPT-2.

        >>> import cutaway
        >>> model = cutaway.load()
        >>> model.prompt_ids("A robot"), model.prompt_ids("")
        ([32, 9379], [50256])
        """
        return self.encode(prompt) or [self._start(self.bos)]

    @property
    def task(self) -> "Task | None":
        """The task that the model has learned, from `task.toml` beside its weights."""
        from cutaway.tasks import Task  # not needed for a first token

        return None if self.metadata.task is None else Task.parse(self.metadata.task)

    def encoder(self, task: "Task | None" = None) -> "TaskEncoder":
        """Return the encoder of a task's examples for this model; the default is the task that it has learned.

        Raises UsageError if the model has learned no task.

        >>> import cutaway
        >>> from cutaway.tasks import open_task
        >>> cutaway.load().encoder(open_task("reverse")).prompt({"source": "a b"})
        [64, 275, 198]
        """
        from cutaway.tasks import TaskEncoder

        task = task or self.task
        if task is None:
            raise UsageError(f"{self.name} has no task.toml: train one with `cutaway train --task`, or name a task")
        return TaskEncoder(task, self.require_tokenizer(), self.config.n_ctx)

    @property
    def bos(self) -> int | None:
        """The start token: from `generation_config.json`, else from `config.json`, else from the tokenizer."""
        given = self.generation_config.bos_token_id
        return next(iter(self._special("bos_token_id")), None) if given is None else given

    def settings(self, config: GenerationConfig | None = None, **overrides: object) -> GenerationConfig:
        """Return the settings that `generate` uses for a config and overrides, with the model's end tokens.

        End tokens are from `generation_config.json`, else from `config.json`, else from the tokenizer, as in
        transformers.

        >>> import cutaway
        >>> cutaway.load().settings(GenerationConfig(top_k=5))
        GenerationConfig(top_k=5, eos_token_id=(50256,))
        """
        settings = self.generation_config if config is None else config
        if not isinstance(settings, GenerationConfig):
            raise UsageError(
                f"config must be a GenerationConfig, not {show(config)}; give single settings by their names"
            )
        settings = settings.replace(**overrides)
        if settings.stop:
            self.require_tokenizer("a stop string cannot be found")
        if settings.eos_token_id is not None:
            return settings
        ends = self.generation_config.eos_token_id
        return settings.replace(eos_token_id=self._special("eos_token_id") if ends is None else ends)

    def require_tokenizer(self, otherwise: str = "give token ids instead of text") -> Codec:
        """Return the tokenizer. Raises CheckpointError if it cannot be read, UsageError if there is none.

        >>> import cutaway
        >>> cutaway.load().require_tokenizer().n_vocab
        50257
        """
        if self.tokenizer is not None:
            return self.tokenizer
        if self.metadata.tokenizer_error:
            raise CheckpointError(f"{self.metadata.tokenizer_error}; {otherwise}")
        if self.codec is not None:
            raise UsageError(f"{self.name} has no text, its ids are such as {self.codec.label(0)!r}; {otherwise}")
        raise UsageError(f"{self.name} has no tokenizer files; {otherwise}")

    def _special(self, key: str) -> tuple[int, ...]:
        """Return the ids under a key of `config.json`, else of the tokenizer, that are in the model's vocabulary."""
        n_vocab = self.config.n_vocab
        named = known_ids(self.metadata.special_tokens.get(key), n_vocab)
        if named or self.codec is None:
            return named
        return known_ids(self.codec.bos if key == "bos_token_id" else self.codec.eos, n_vocab)

    def _generate(
        self, prompts: Sequence[Prompt], config: GenerationConfig, seeds: Sequence[int], mask: TokenMask | None
    ) -> Iterator[tuple[int, Chunk]]:
        bos = self.bos if config.bos_token_id is None else config.bos_token_id
        ids = [self.encode(prompt) or [self._start(bos)] for prompt in prompts]
        return generate(self.engine, self.codec, ids, config, seeds, mask=mask)

    def _seeds(self, prompts: Sequence[Prompt], samples: int, config: GenerationConfig) -> range:
        """Return the seed of each sequence."""
        if isinstance(prompts, str | bytes) or not hasattr(prompts, "__len__"):
            raise UsageError("prompts must be a list of prompts; for one prompt use generate or stream")
        check_int("the number of prompts", len(prompts), 1, MAX_SEQUENCES)
        count = len(prompts) * check_int("samples", samples, 1, MAX_SEQUENCES // len(prompts))
        first = config.pick_seed()
        return range(first, first + count)

    def _start(self, token: int | None) -> int:
        """Check the token that begins a text."""
        if token is None:
            self.require_tokenizer("give a prompt of at least one token id")
            raise UsageError(f"{self.name} has no start token; give a prompt of at least one token id")
        return check_int("bos_token_id", token, 0, self.config.n_vocab - 1)
