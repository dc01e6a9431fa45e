"""Computes a figure's numbers once more, from the tensor and index or from the formula that each of them names.

A formula is an arithmetic expression over tensors by their names. `logits(ids[:3])` is the tensor of another text, read
anew; `step(p)` is the trace of the text up to token p, of which only that token is computed; `attn.L ... for L in
layers` runs over the layers. It is read with `ast` and computed in float64, by none of the functions under test.
"""

import ast
import fnmatch
import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.config import PUBLISHED
from cutaway.figures import Selection
from cutaway.figures.article.part2_kv_cache import _from_cache
from cutaway.figures.article.part3_summaries import EXAMPLE, write_summary
from cutaway.figures.article.part3_transfer import RECORD
from cutaway.figures.panels import Number
from cutaway.generation.config import GenerationConfig
from cutaway.generation.sampling import distribution
from cutaway.music import perf388
from cutaway.music.performance import Note, Performance
from cutaway.parameters import ARTICLE
from cutaway.tokenizer.codec import Codec
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Intervention, Trace
from cutaway.trace.interventions import fitting

DOTTED = re.compile(r"(?<![\w.])[A-Za-z_][\w-]*(?:\.\w+)+")
WEIGHTS = re.compile(r"\b(size|tensors)\(([\w.*]+)\)")  # of all weights whose names fit a pattern
MASKED = -1e10
EVENT_NAMES = ("NOTE_ON", "NOTE_OFF", "TIME_SHIFT", "VELOCITY", "END", "N_VOCAB")
OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.MatMult: operator.matmul,
    ast.Eq: operator.eq,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def value_of(number: Number, trace: Trace, selection: Selection) -> float:
    """Compute the number; `selection` is the one that the figure was drawn for."""
    if number.index:
        return float(trace[number.tensor][number.index])
    return float(Formula(trace, selection.resolve(trace.config, len(trace))).evaluate(number.tensor))


class Formula:
    def __init__(self, trace: Trace, selection: Selection) -> None:
        self.trace = trace
        self.names: dict[str, Any] = {
            "ids": np.array(trace.ids),
            "layers": range(trace.config.n_layer),
            "layer": selection.layer,
            "head": selection.head,
            "position": selection.position,
            "text": self._text(),
            **self._summary(),
            **_transfer(),
            "article.events": np.array(perf388.EXAMPLE),
            **{f"perf388.{name}": getattr(perf388, name) for name in EVENT_NAMES},
        }
        self.dotted: dict[str, str] = {}

    def _summary(self) -> dict[str, Any]:
        """The ids of the example of a summary, and of the summary that F62 has written."""
        own = self.trace.tokenizer
        codec = own if isinstance(own, Codec) and own.eos is not None else Tokenizer.gpt2()
        parts = [EXAMPLE["title"], "\n\n", EXAMPLE["body"], "\n\nTL;DR:"]
        prompt = [token for part in parts for token in codec.encode(part)]
        found = write_summary(self.trace)
        return {
            "summary.prompt": np.array(prompt),
            "summary.example": np.array([*prompt, *codec.encode(f" {EXAMPLE['lead']}"), codec.eos]),
            "summary.ids": np.array([*found.prompt, *found.ids]),
        }

    def evaluate(self, formula: str) -> Any:
        formula = WEIGHTS.sub(lambda match: str(self._weights(match[1], match[2])), formula)
        formula = DOTTED.sub(self._placeholder, formula)
        return self._value(ast.parse(formula, mode="eval").body)

    def _placeholder(self, match: re.Match[str]) -> str:
        name = f"dotted_{len(self.dotted)}"
        self.dotted[name] = match[0]
        return name

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self._name(node.id)
            case ast.Subscript():
                return self._value(node.value)[self._value(node.slice)]
            case ast.Slice():
                return slice(*(part and self._value(part) for part in (node.lower, node.upper, node.step)))
            case ast.Tuple():
                return tuple(map(self._value, node.elts))
            case ast.List():
                return list(map(self._value, node.elts))
            case ast.ListComp():
                return self._each(node)
            case ast.Call():
                return self._call(node)
            case _:
                return self._operation(node)

    def _operation(self, node: ast.expr) -> Any:
        match node:
            case ast.BinOp():
                return OPERATORS[type(node.op)](self._value(node.left), self._value(node.right))
            case ast.UnaryOp(op=ast.USub()):
                return -self._value(node.operand)
            case ast.Compare():
                return OPERATORS[type(node.ops[0])](self._value(node.left), self._value(node.comparators[0]))
            case _:
                raise AssertionError(ast.dump(node))

    def _each(self, node: ast.ListComp) -> list[Any]:
        (loop,) = node.generators
        assert isinstance(loop.target, ast.Name)
        values = []
        for item in self._value(loop.iter):
            self.names[loop.target.id] = item
            values.append(self._value(node.elt))
        return values

    def _name(self, name: str) -> Any:
        name = self.dotted.get(name, name)
        if name in self.names:
            return self.names[name]
        if name == "second_step":
            first = self._read(self.trace.ids[:1])
            return first.append(int(first["logits"][-1].argmax()))
        if name == "second_step_ids":
            return self._name("second_step").ids
        if name == "article.parameters":
            in_a_block = sum(size for tensor, size in ARTICLE.items() if not tensor.startswith("w"))
            return 12 * in_a_block + ARTICLE["wte.weight"] + ARTICLE["wpe.weight"]
        if name == "config":
            return self.trace.config
        if name.startswith("config."):
            return getattr(self.trace.config, name.removeprefix("config."))
        if name.startswith("published."):
            return np.array([_published(model, name.removeprefix("published.")) for model in PUBLISHED])
        for model in PUBLISHED:
            if name.startswith(f"{model.name}."):
                return getattr(model.config, name.removeprefix(f"{model.name}."))
        return self._tensor(self.trace, name)

    def _tensor(self, trace: Trace, name: str) -> Any:
        name = name.replace(".L", f".{self.names.get('L')}")
        tensor = trace[name]
        return tensor.astype(np.float64) if tensor.dtype == np.float32 else tensor

    def _call(self, node: ast.Call) -> Any:
        assert isinstance(node.func, ast.Name)
        name = self.dotted.get(node.func.id, node.func.id)
        arguments = [self._value(argument) for argument in node.args]
        keywords = {str(each.arg): self._value(each.value) for each in node.keywords}
        if name in FUNCTIONS:
            return FUNCTIONS[name](*arguments)
        if hasattr(self, f"_call_{name}"):
            return getattr(self, f"_call_{name}")(*arguments, **keywords)
        (context,) = arguments
        return self._tensor(context if isinstance(context, Trace) else self._read(context), name)

    def _read(self, ids: Sequence[int], base: Trace | None = None) -> Trace:
        trace = self.trace
        kept = fitting(trace.interventions, len(ids))
        return Trace(trace.config, trace.weights, trace.tokenizer, [int(i) for i in ids], kept, base=base)

    def _call_step(self, position: int) -> Trace:
        before = self._read(self.trace.ids[:position]) if position else None
        return self._read(self.trace.ids[: position + 1], before)

    def _call_no_mask(self, layer: int) -> Trace:
        return self.trace.intervene(*self.trace.interventions, Intervention("no_mask", layer=layer))

    def _call_greedy(self, count: int) -> Any:
        ids: list[int] = list(self.trace.ids)
        while len(ids) < len(self.trace) + count:
            ids.append(int(self._read(ids[: self.trace.config.n_ctx])["logits"][-1].argmax()))
            if len(ids) > self.trace.config.n_ctx:
                break
        return np.array(ids[len(self.trace) :])

    def _call_rstd(self, x: Any) -> Any:
        return 1 / np.sqrt(x.var() + self.trace.config.layer_norm_epsilon)

    def _call_layer_norm(self, x: Any, weight: Any, bias: Any) -> Any:
        return (x - x.mean()) * self._call_rstd(x) * weight + bias

    def _call_logits_from_cache(self, position: int) -> Any:
        return _from_cache(self.trace, position)

    def _call_distribution(self, logits: Any, **settings: Any) -> Any:
        return distribution(logits.astype(np.float32), GenerationConfig(**settings))[1]

    def _call_pieces(self, text: str) -> Any:
        assert isinstance(self.trace.tokenizer, Tokenizer)
        return self.trace.tokenizer.explain(text, allow_special=True)

    def _call_encode(self, text: str) -> Any:
        assert isinstance(self.trace.tokenizer, Tokenizer)
        return self.trace.tokenizer.encode(text, allow_special=True)

    def _call_fitting_tensors(self, config: Any) -> int:
        return sum(tuple(self.trace.weights[name].shape) == shape for name, shape in config.tensor_shapes().items())

    def _text(self) -> str:
        tokenizer = self.trace.tokenizer
        if not isinstance(tokenizer, Codec):
            return ""
        return tokenizer.decode(i for i in self.trace.ids if i < tokenizer.n_vocab)

    def _weights(self, what: str, pattern: str) -> int:
        names = [name for name in self.trace.weights if fnmatch.fnmatch(name, pattern)]
        return len(names) if what == "tensors" else sum(self.trace.weights[name].size for name in names)


def _published(model: Any, field: str) -> int:
    return int(model.config.n_params if field == "n_params" else getattr(model, field)[:-1])


def _softmax(x: Any) -> Any:
    exp = np.exp(x - x.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def _error(x: Any, expected: Any) -> float:
    """The largest difference, relative to the largest expected number if that is above 1."""
    return _largest(np.abs(np.subtract(x, expected))) / max(1.0, _largest(np.abs(expected)))


def _largest(x: Any) -> float:
    return float(np.max(x, initial=-np.inf)) if np.size(x) else 0.0


def _up_to_diagonal(x: Any) -> NDArray[np.bool_]:
    return np.tri(x.shape[-2], x.shape[-1], dtype=np.bool_)


def _above_diagonal(x: Any) -> Any:
    """The numbers (H, n) right of the diagonal of each head."""
    return x[..., ~_up_to_diagonal(x)]


def _top_k(x: Any, k: int) -> Any:
    return x[x >= np.sort(x)[-min(k, len(x))]]


def _top_p(x: Any, p: float) -> Any:
    order = np.argsort(-x, kind="stable")
    count = int(np.searchsorted(np.cumsum(x[order]), p)) + 1
    kept = np.where(np.isin(np.arange(len(x)), order[:count]), x, 0)
    return kept[kept > 0] / kept.sum()


def _merge_heads(x: Any) -> Any:
    return np.swapaxes(x, 0, 1).reshape(x.shape[1], -1)


def _gelu_new(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _pooled_mean(x: Any, count: int) -> float:
    parts = np.array_split(x.astype(np.float32), min(count, len(x)))
    return float(sum(float(part.mean()) * len(part) for part in parts)) / len(x)


def _longest_repeat(ids: Any) -> int:
    """The length of the longest run that stood before, at its end in any beginning of the ids."""
    text = [int(i) for i in ids]
    runs = [0]
    for end in range(1, len(text) + 1):
        for start in range(end - 1):
            length = 0
            while length <= start and text[start - length] == text[end - 1 - length]:
                length += 1
            runs.append(length)
    return max(runs)


def _circle_length(ids: Any) -> int:
    text = [int(i) for i in ids]
    lengths = range(1, len(text) // 3 + 1)
    return next(
        n for n in lengths if len(text) >= 8 and all(text[-i] == text[-i - n] for i in range(1, max(3 * n, 8) - n + 1))
    )


def _circle_start(ids: Any) -> int:
    length = _circle_length(ids)
    return next(i for i in range(len(ids)) if (ids[i + length :] == ids[i:-length]).all())


def _transfer() -> dict[str, Any]:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    losses = {name: np.array(losses).mean(axis=1) for name, losses in record["losses"].items()}
    return {
        "transfer.shares": np.array(record["shares"]),
        "transfer.scratch": losses["from scratch"],
        "transfer.pretrained": losses["pre-trained"],
    }


def _one_hot(ids: Any, size: int) -> Any:
    return (ids[:, None] == np.arange(size)).astype(float)


def _count_events(kind: str) -> int:
    """The ids of perf388 whose labels are of a kind."""
    endings = {"NOTE_ON": " on", "NOTE_OFF": " off", "TIME_SHIFT": " ms", "END": "end"}
    labels = [perf388.PerformanceCodec().label(index) for index in range(perf388.N_VOCAB)]
    if kind == "VELOCITY":
        return sum(label.startswith("velocity") for label in labels)
    return sum(label.endswith(endings[kind]) for label in labels)


def _events(notes: Any) -> Any:
    played = [Note(float(on), float(off), int(pitch), int(velocity)) for on, off, pitch, velocity in notes]
    return np.array(perf388.PerformanceCodec().encode(Performance.of(played)), np.int64)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": np.abs,
    "above_diagonal": _above_diagonal,
    "arange": np.arange,
    "argmax": np.argmax,
    "bytes": str.encode,
    "causal": lambda x: np.where(_up_to_diagonal(x), x, MASKED),
    "circle_length": _circle_length,
    "circle_start": _circle_start,
    "count_events": _count_events,
    "concat": lambda *parts: np.concatenate(parts, axis=-1),
    "difference": lambda x, y: _largest(np.abs(np.subtract(x, y))),
    "error": _error,
    "flat": np.ravel,
    "gelu": lambda x: np.array([each * (1 + math.erf(each / math.sqrt(2))) / 2 for each in x]),
    "gelu_new": _gelu_new,
    "len": len,
    "log": np.log,
    "longest_repeat": _longest_repeat,
    "max": lambda *x: max(x) if len(x) > 1 else _largest(x[0]),
    "maximum": np.maximum,
    "mean": np.mean,
    "merge_heads": _merge_heads,
    "min": lambda *x: min(x) if len(x) > 1 else float(np.min(x[0])),
    "norm": np.linalg.norm,
    "pooled_mean": _pooled_mean,
    "one_hot": _one_hot,
    "perf388.encode": _events,
    "perf388.notes": lambda ids: np.array(perf388.PerformanceCodec().decode(ids.tolist()).notes),
    "perf388.times": lambda ids: np.array(perf388.PerformanceCodec().read(ids.tolist()).times),
    "positions_computed": lambda trace: trace.work.positions_computed,
    "positions_reused": lambda trace: trace.work.positions_reused,
    "range": range,
    "ranks": lambda x, chosen: np.array([(row > row[token]).sum() for row, token in zip(x, chosen, strict=True)]),
    "relu": lambda x: np.maximum(x, 0),
    "round": np.round,
    "shape": np.shape,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softmax": _softmax,
    "sort": np.sort,
    "sqrt": np.sqrt,
    "stack": np.stack,
    "sum": np.sum,
    "tanh": np.tanh,
    "top_k": _top_k,
    "top_p": _top_p,
    "triu": lambda x: np.triu(x, 1),
    "transpose": lambda x: np.swapaxes(x, -1, -2),
    "zeros": np.zeros,
}
