"""Translations for the page: those that a model writes for a sentence, and a trace read as a translation."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from cutaway.errors import UsageError
from cutaway.model import Model
from cutaway.tasks.decoding import Output, decode_fields
from cutaway.tasks.task import FROM, TO
from cutaway.trace import Trace
from cutaway.trace.heads import aligner
from cutaway.web.worker import Document

MAX_SOURCE = 2000  # characters of a sentence
N_BEST = 5


def directions(model: Model) -> list[tuple[str, str]]:
    """Return the languages that a model translates from and to; none if it does not translate.

    >>> import cutaway
    >>> directions(cutaway.load("builtin-translation")), directions(cutaway.load())
    ([('en', 'de'), ('de', 'en')], [])
    """
    task = model.task
    if task is None or not task.translates or model.tokenizer is None:
        return []
    return [(pair[FROM], pair[TO]) for pair in task.languages]


def _check_directions(model: Model) -> None:
    if not directions(model):
        raise UsageError("this model has not learned to translate")


def translate(model: Model, fields: Mapping[str, str], check: Callable[[], None] = lambda: None) -> Document:
    """Translate `source` from the language `from` to `to`: greedily, and by the task's beam search, best score first.

    `ids` are the prompt and as much of the translation as fits the context; `cut` is the number of source tokens that
    were not read. `check` is called before each step, and may raise to stop. Raises UsageError if the model does not
    translate, or if the source is empty or too long.

    >>> import cutaway
    >>> model = cutaway.load("builtin-translation")
    >>> found = translate(model, {"from": "en", "to": "de", "source": "Where is the station?"})
    >>> [(each["text"], each["greedy"]) for each in found["translations"]][:2]
    [('Wo ist der Bahnhof?', True), ('Wo ist das Bahnhof?', False)]
    """
    _check_directions(model)
    source = fields["source"].strip()
    if not source:
        raise UsageError("the prompt is empty: give a sentence")
    if len(source) > MAX_SOURCE:
        raise UsageError(f"a text to translate must have at most {MAX_SOURCE} characters, not {len(source)}")
    encoder = model.encoder()
    fields = {**fields, "source": source}
    prompt, cut = encoder.prompt_and_count(fields)
    search = replace(encoder.task.decoding, temperature=0.0, beams=max(N_BEST, encoder.task.decoding.beams))
    [[greedy]] = decode_fields(model.engine, encoder, [fields], replace(search, beams=1), check=check)
    [best] = decode_fields(model.engine, encoder, [fields], search, n_best=N_BEST, check=check)
    others = [each for each in best if each.text != greedy.text]
    found = sorted([greedy, *others], key=lambda each: -each.score)
    return {
        "cut": cut,
        "translations": [_document(each, prompt, each is greedy, model.config.n_ctx) for each in found],
    }


def _document(output: Output, prompt: list[int], is_greedy: bool, n_ctx: int) -> Document:
    return {
        "text": output.text,
        "ids": [*prompt, *output.ids][:n_ctx],
        "logprob": output.logprob,
        "score": output.score,
        "finished": output.is_finished,
        "greedy": is_greedy,
    }


def translation_document(model: Model, trace: Trace) -> Document:
    """Read a trace as a translation: its languages, its texts, and the head that looks most from target to source.

    `n_source` is the number of tokens before the target. `links` go from each token that predicts a target token to the
    source token that this head looks at (`trace.heads.aligner`). `source` is None if the text is not a translation.

    >>> import cutaway
    >>> model = cutaway.load("builtin-translation")
    >>> trace = model.trace_example({"from": "en", "to": "de", "source": "Where is the station?"})
    >>> found = translation_document(model, trace)
    >>> found["source"], found["target"], found["n_source"], found["links"][0][:2]
    ('Where is the station?', 'Wo ist der Bahnhof?', 7, [7, 2])
    """
    _check_directions(model)
    encoder = model.encoder()
    n_source = encoder.find_target(trace.ids)
    fields = encoder.parse_prompt(trace.ids[:n_source])
    if fields is None:
        return {"source": None}
    layer, head, links = aligner(trace, n_source) if n_source > 2 else (0, 0, [])
    return {
        **fields,
        "target": encoder.decode(trace.ids[n_source:]),
        "n_source": n_source,
        "layer": layer,
        "head": head,
        "links": [list(link) for link in links],
    }
