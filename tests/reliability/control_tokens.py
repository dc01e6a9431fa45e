"""Check that no text becomes a control token, however it is built around and across the names of them.

Each text goes through everything that reads one: prompts, the explorer, conversations, pairs and documents to fine-tune
on, the fields of a task, the preparation of a corpus. Control tokens are where their positions put them, nowhere else.
"""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import cutaway
from cutaway.data.blocks import Block
from cutaway.data.dataset import open_dataset
from cutaway.data.encode import Encoder
from cutaway.data.examples import make_examples
from cutaway.data.prepare import prepare
from cutaway.data.records import parse_record
from cutaway.explore.schemas import explain_document
from cutaway.explore.traces import read_trace_request, resolve_ids
from cutaway.model import Model
from cutaway.tasks import open_task
from cutaway.tasks.encoder import TaskEncoder
from cutaway.tokenizer.fast import Tokenizer
from cutaway.training.control_tokens import add_controls, missing_controls
from cutaway.web.params import Params
from tests.reliability.harness import Result, scratch

END = "<|endoftext|>"
_CONTEXT = 1024
_NAMES = (END, "<|en|>", "<|de|>")
_WIDE = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})
_JOINTS = ("", " ", "\n", "\n\n", "\t", "\0", "\u200b", "\u00ad", "\u202e", "\ufeff", "|", "<", ">", "<|", "|>")
_WORDS = ("A robot", " must obey", "café", "机器人", "🤖", "User:", "Assistant:", "\n\nAssistant:", "{source}", "&lt;|")


def make_text(generator: random.Random) -> str:
    """Return a text of names of control tokens, their parts and variants, and what may stand around and in them.

    >>> END in "".join(make_text(random.Random(seed)) for seed in range(9))
    True
    """
    pieces = [_make_piece(generator) for _ in range(generator.randint(1, 5))]
    return "".join(part for piece in pieces for part in (piece, generator.choice(_JOINTS)))


def _make_piece(generator: random.Random) -> str:
    name = generator.choice(_NAMES)
    cut = generator.randint(1, len(name) - 1)
    return generator.choice(
        (
            *(name, name, name * 2, name[:cut], name[cut:], name[:cut] + name + name[cut:]),
            *(name[:cut] + generator.choice(_JOINTS) + name[cut:], name.upper(), name.title(), name.translate(_WIDE)),
            *(json.dumps(name), name.replace("|", "\\|"), f" {name}", f"{name} ", generator.choice(_WORDS)),
        )
    )


def control_tokens(texts: int, seed: int = 1) -> Result:
    """Read texts in every way, and at last prepare a corpus of all of them."""
    generator = random.Random(seed)
    result = Result()
    model = cutaway.load()
    readers = _readers()
    written = []
    for number in range(texts):
        text = make_text(generator)
        problems = [
            f"{text!r} gave the control tokens {found} to {name}, not {wanted}"
            for name, read in readers.items()
            for found, wanted in [read(model, text, generator)]
            if found != wanted
        ]
        result.add(f"text {number} of seed {seed}", problems)
        written.append(text)
    result.add(f"a corpus of {texts} texts", _corpus_problems(written))
    return result


Found = tuple[list[int], list[int]]  # the control tokens that were found, and those that there should be
Reader = Callable[[Model, str, random.Random], Found]


def _controls(ids: Sequence[int]) -> list[int]:
    """Return the ids of GPT-2's control token and of those that tasks add after it."""
    return [int(token) for token in ids if token >= 50256]


def _read_prompt(model: Model, text: str, generator: random.Random) -> Found:
    ids = model.encode(text)
    whole = model.decode(ids) == text  # it is text, and all of it
    return _controls(model.input_ids(text)), [50256] if whole else []


def _read_joined(model: Model, text: str, generator: random.Random) -> Found:
    cut = generator.randint(0, len(text))
    return _controls([*model.encode(text[:cut]), *model.encode(text[cut:])]), []


def _read_in_explorer(model: Model, text: str, generator: random.Random) -> Found:
    body = read_trace_request(model.config, Params({"text": text, "prepend_bos": True}))
    explained = explain_document(model, text)["ids"]
    assert isinstance(explained, list)
    return [*_controls(resolve_ids(model, body)), *_controls(explained)], [50256]


def _read_conversation(model: Model, text: str, generator: random.Random) -> Found:
    """Read a text that is split over the messages of a conversation."""
    cuts = sorted(generator.choices(range(len(text) + 1), k=3))
    parts = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    roles = ("system", "user", "assistant", "assistant")
    messages = [{"role": role, "content": part} for role, part in zip(roles, parts, strict=True)]
    return _read_examples({"messages": messages}), [50256, 50256]


def _read_pair(model: Model, text: str, generator: random.Random) -> Found:
    cut = generator.randint(1, len(text))
    return _read_examples({"prompt": text[:cut], "completion": f"{text[cut:]}."}), [50256]


def _read_document(model: Model, text: str, generator: random.Random) -> Found:
    return _read_examples({"text": text}), [50256, 50256]


def _read_examples(record: dict[str, object]) -> list[int]:
    examples = make_examples([parse_record(record, "texts.jsonl:1")], Tokenizer.gpt2(), _CONTEXT).examples
    return [token for example in examples for token in _controls(example.ids.tolist())]


def _task_reader() -> Reader:
    task = open_task("translation")
    codec = add_controls(Tokenizer.gpt2(), missing_controls(task, Tokenizer.gpt2()), first=50257)
    encoder = TaskEncoder(task, codec, _CONTEXT)

    def read(model: Model, text: str, generator: random.Random) -> Found:
        fields = {"source": text, "target": text[::-1] + text, "from": "en", "to": "de"}
        return _controls(encoder.encode(fields).ids.tolist()), [50257, 50258, 50256]

    return read


def _block_reader() -> Reader:
    encoder = Encoder(Tokenizer.gpt2(), share=0)

    def read(model: Model, text: str, generator: random.Random) -> Found:
        cut = generator.randint(1, len(text))
        lines = [{"text": text[:cut]}, {"prompt": text, "completion": text[cut:]}]
        encoded = encoder.encode(Block(Path("texts.jsonl"), 0, lines="\n".join(map(json.dumps, lines)).encode()))
        literals = sum(part.count(END) for line in lines for part in line.values())
        counted = [] if encoded.control_literals == literals else [encoded.control_literals]
        return [*_controls(encoded.splits["train"].ids.tolist()), *counted], [50256, 50256]

    return read


def _readers() -> dict[str, Reader]:
    return {
        "a prompt": _read_prompt,
        "joined prompts": _read_joined,
        "the explorer": _read_in_explorer,
        "a conversation": _read_conversation,
        "a pair": _read_pair,
        "a document": _read_document,
        "a task": _task_reader(),
        "a block of a corpus": _block_reader(),
    }


def _corpus_problems(texts: Sequence[str]) -> list[str]:
    """Prepare a corpus, a document of each text: as many control tokens as documents, and as many literals as texts."""
    with scratch() as directory:
        (directory / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        prepare([directory / "texts.jsonl"], directory / "corpus", workers=1)
        dataset = open_dataset(directory / "corpus")
        split = dataset.split("train")
        found = len(_controls(split.ids[: len(split.ids)].tolist()))
        literals = sum(text.count(END) for text in texts)
        wanted = (len(texts), len(texts), literals)
        counted = (found, split.n_documents, dataset.manifest.control_literals)
        return [] if counted == wanted else [f"control tokens, documents and literals are {counted}, not {wanted}"]
