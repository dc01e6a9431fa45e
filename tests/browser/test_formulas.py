"""Numbers that are computed of tensors: each says its formula, and is what NumPy makes of that in double precision."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from cutaway.trace import Intervention, Trace
from tests.browser.conftest import Explorer
from tests.browser.numbers import Entry, is_tensor, printed
from tests.browser.visit import Visit

pytestmark = pytest.mark.slow

Array = NDArray[np.float64]

PLACE = "layer=2&head=1&position=5"
TOP_K = 40  # of the page's settings
RESID = r"(resid\.\w+\.\d+)"


class Formulas:
    """Computes what formulas of a page give: `a` is the trace that it shows, `b` the other one."""

    def __init__(self, a: Trace, b: Trace) -> None:
        self.a = a
        self.b = b

    def of(self, trace: Trace, name: str) -> Array:
        return np.asarray(trace[name], np.float64)

    def probs(self, trace: Trace, name: str | None = None) -> Array:
        """The logit lens at that boundary; the model's own probabilities without one."""
        if name is None:
            scores = self.of(trace, "logits")
        else:
            states = self.of(trace, name)
            centred = states - states.mean(-1, keepdims=True)
            spread = np.sqrt(states.var(-1, keepdims=True) + trace.config.layer_norm_epsilon)
            states = centred / spread * self.of(trace, "ln_f.weight") + self.of(trace, "ln_f.bias")
            scores = states @ self.of(trace, "wte.weight").T
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        shares: Array = weights / weights.sum(-1, keepdims=True)
        return shares

    def surprisal(self, trace: Trace) -> Array:
        return -np.log(self.probs(trace)[np.arange(len(trace.ids) - 1), trace.ids[1:]])

    def norm(self, index: list[int], one: str, two: str | None) -> float:
        vector = self.of(self.a, one) - (self.of(self.a, two) if two else 0)
        return float(np.linalg.norm(vector[index[0]]))

    def cosine(self, index: list[int], one: str, two: str) -> float:
        x, y = (self.of(self.a, name)[index[0]] for name in (one, two))
        return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))

    def lens(self, index: list[int], other: str, name: str) -> float:
        return float(self.probs(self.b if other else self.a, name)[tuple(index)])

    def divergence(self, index: list[int], name: str) -> float:
        """Of B the same place, or its last one."""
        p = self.probs(self.a, name)[index[0]]
        q = self.probs(self.b, name)[min(index[0], len(self.b.ids) - 1)]
        return float(p @ (np.log(p) - np.log(q)))

    def surprise(self, index: list[int]) -> float:
        return float(-np.log(self.probs(self.a)[tuple(index)]))

    def loss(self, _: list[int]) -> float:
        return float(self.surprisal(self.a).mean())

    def loss_before(self, _: list[int]) -> float:
        return float(self.surprisal(self.b).mean())

    def loss_change(self, _: list[int]) -> float:
        return float(self.surprisal(self.a).mean() - self.surprisal(self.b).mean())

    def other_probs(self, index: list[int]) -> float:
        return float(self.probs(self.b)[tuple(index)])

    def chance(self, index: list[int]) -> float:
        row = self.probs(self.a)[index[0]]
        return float(row[index[1]] / np.sort(row)[-TOP_K:].sum())

    def weights(self, layer: str, head: int) -> Array:
        found: Array = self.of(self.a, f"attn.{layer}")[head]
        return found

    def first(self, index: list[int], layer: str) -> float:
        return float(self.weights(layer, index[0])[1:, 0].mean())

    def previous(self, index: list[int], layer: str) -> float:
        return float(np.diagonal(self.weights(layer, index[0]), -1).mean())

    def largest(self, index: list[int], layer: str) -> float:
        return float(self.weights(layer, index[0])[:, 1:].max())

    def entropy(self, index: list[int], layer: str) -> float:
        weights = self.weights(layer, index[0])
        return float(-(weights * np.log(np.where(weights > 0, weights, 1))).sum(-1).mean())

    def searched(self, index: list[int], query: str, one: str, two: str) -> float:
        return float(self.weights(str(index[0]), index[1])[int(query), [int(one), int(two)]].sum())

    def count(self, index: list[int], name: str) -> float:
        return float((self.of(self.a, name)[index[0]] > 0).sum())

    def logit(self, index: list[int]) -> float:
        return float(self.of(self.a, "logits")[tuple(index)])

    def promoted(self, index: list[int], name: str, unit: str) -> float:
        row = self.of(self.a, name)[int(unit)]
        return float((row - row.mean()) * self.of(self.a, "ln_f.weight") @ self.of(self.a, "wte.weight")[index[0]])

    def neighbour(self, index: list[int], token: str) -> float:
        """The cosine of a rank."""
        rows = self.of(self.a, "wte.weight")
        rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        return float(np.sort(np.delete(rows @ rows[int(token)], int(token)))[-1 - index[1]])

    def size(self, _: list[int], names: str) -> float:
        shapes = self.a.config.tensor_shapes()
        pattern = re.escape(names).replace(r"\*", ".*") + (
            r"\..*" if names.startswith("h.") and names.count(".") == 1 else ""
        )
        found = sum(int(np.prod(shape)) for name, shape in shapes.items() if re.fullmatch(pattern, name))
        return float(found / (self.a.config.n_layer if names.startswith("h.*.") else 1))


FORMULAS: dict[str, Callable[..., float]] = {
    rf"norm\({RESID}(?: - {RESID})?\)": Formulas.norm,
    rf"cosine\({RESID}, {RESID}\)": Formulas.cosine,
    rf"lens\((B: |){RESID}\)": Formulas.lens,
    rf"softmax\(ln_f\(()?{RESID}\) @ wte\.weight\.T\)": Formulas.lens,
    rf"KL\(lens\({RESID}\) ‖ lens\(B: .*\)\)": Formulas.divergence,
    r"-log probs": Formulas.surprise,
    r"mean\(-log probs\)": Formulas.loss,
    r"mean\(-log probs\) without changes": Formulas.loss_before,
    r"mean\(-log probs\) - mean\(-log probs\)": Formulas.loss_change,
    r"B: probs|probs without changes": Formulas.other_probs,
    r"distribution\(logits\)": Formulas.chance,
    r"first\(attn\.(\d+)\)": Formulas.first,
    r"previous\(attn\.(\d+)\)": Formulas.previous,
    r"largest\(attn\.(\d+)\)": Formulas.largest,
    r"entropy\(attn\.(\d+)\)": Formulas.entropy,
    r"attn\.l\[h,(\d+),(\d+)\] \+ attn\.l\[h,\d+,(\d+)\]": Formulas.searched,
    r"count\((mlp_act\.\d+) > 0\)": Formulas.count,
    r"sum\(direct_logit_attribution\)|sum\(ln_f \* wte\.weight\)": Formulas.logit,
    r"\((h\.\d+\.mlp\.c_proj\.weight)\[(\d+),:\] - mean\) \* ln_f\.weight @ wte\.weight\.T": Formulas.promoted,
    r"cosine\(wte\.weight\[(\d+)\], wte\.weight\)": Formulas.neighbour,
    r"size\(([\w.*]+)\)": Formulas.size,
}


def faults(formulas: Formulas, entries: list[Entry]) -> tuple[set[str], list[str]]:
    """Return the formulas that were compared, and the numbers that are not what theirs give."""
    compared = set[str]()
    wrong = []
    for entry in entries:
        found = [(pattern, match) for pattern in FORMULAS if (match := re.fullmatch(pattern, entry["tensor"]))]
        if is_tensor(formulas.a, entry["tensor"]) or not found or entry["text"] == "–":  # a token that is not drawn
            continue
        [(pattern, match)] = found
        index = [int(place) for place in entry["index"].split(",") if place]
        value = FORMULAS[pattern](formulas, index, *match.groups())
        shown, within = printed(entry["text"])
        if abs(value - shown) > within + 2e-5 * max(1.0, abs(value)):  # the page's tensors are in single precision
            wrong.append(f"{entry['tensor']}[{entry['index']}] is {value}, and {entry['text']!r} is shown")
        compared.add(pattern)
    return compared, wrong


@pytest.mark.parametrize(
    ("view", "least"),
    [
        ("overview?", 1),
        ("play?", 2),
        ("input?", 1),
        ("heads?x-from=8&x-to=2,3", 5),
        ("mlp?", 2),
        ("stack?x-measure=norm", 2),
        ("stack?x-measure=attention", 2),
        ("stack?x-measure=mlp", 2),
        ("stack?x-measure=cosine", 3),
        ("output?x-token=13", 2),
        ("compare?x-with=text&x-ids=50256,32,9379", 3),
        ("whatif?do=values_are_keys", 4),
        ("parameters?", 1),
    ],
)
def test_a_number_is_what_its_formula_gives(tour: Visit, explorer: Explorer, view: str, least: int) -> None:
    tour.open(f"#1/{view}&{PLACE}")
    a = explorer.trace
    b = explorer.trace_of([50256, 32, 9379])
    if view.startswith("whatif"):
        changed = (Intervention("values_are_keys"),)
        b = a
        a = Trace(a.config, a.weights, explorer.model.tokenizer, explorer.ids, changed)
    compared, wrong = faults(Formulas(a, b), tour.page.evaluate("look.numbers()"))
    assert wrong == []
    assert len(compared) >= least
