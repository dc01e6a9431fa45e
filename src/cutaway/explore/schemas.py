"""What the server says of the model, of tokens and of traces, as JSON has it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.explore.similarity import nearest
from cutaway.explore.worker import Document
from cutaway.figures import all_figures
from cutaway.figures.article.weights import parameter_panels
from cutaway.figures.content import Note, Selection
from cutaway.model import Model
from cutaway.numerics import FloatArray
from cutaway.parameters import parameter_table, published_as
from cutaway.tokenizer.codec import Codec
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.vocabulary import Vocabulary
from cutaway.trace import Trace


def model_document(model: Model, checkpoint_bytes: int, against: Model | None = None) -> Document:
    """What model it is, what its numbers are computed with, and which model it can be held against."""
    published = published_as(model.config)
    names = {"name": published.name, "size": published.size, "first_size": published.first_size} if published else None
    return {
        "name": model.name,
        "engine": model.engine.name,
        "dtype": model.engine.dtype,
        "precision_note": _precision_note(model),
        "config": asdict(model.config),
        "n_params": model.config.n_params,
        "published": names,
        "has_tokenizer": model.tokenizer is not None,
        "end_of_text": model.tokenizer.bos if model.tokenizer else None,
        "vocabulary": _made_of(model.tokenizer.vocabulary) if isinstance(model.tokenizer, Tokenizer) else None,
        "checkpoint": {"name": model.name, "bytes": checkpoint_bytes},
        "against": {"name": against.name, "dtype": against.engine.dtype} if against else None,
    }


def _made_of(vocabulary: Vocabulary) -> dict[str, int]:
    """How many tokens there are of each origin."""
    n_bytes = sum(len(symbols) == 1 for symbols in vocabulary.ids)
    special = len(vocabulary.control) + len(vocabulary.added)
    return {"bytes": n_bytes, "merges": len(vocabulary.ids) - n_bytes, "special": special}


def _precision_note(model: Model) -> dict[str, str]:
    dtype, engine = model.engine.dtype, model.engine.name
    return {
        "en": f"The weights are {dtype}; what is shown is computed from them in float32. New text is written by the "
        f"engine {engine}, which may round on the way.",
        "zh": f"权重为 {dtype}；所显示的数值都由这些权重以 float32 计算得出。"
        f"新的文字由 {engine} 引擎写出，它在计算中可能舍入。",
    }


def page_address(view: str, ids: Sequence[int], chosen: Selection) -> str:
    """The part of the page's address after the #, in the form that its app/address.js reads."""
    where = f"layer={chosen.layer}&head={chosen.head}&position={chosen.position}"
    return f"#1/{view}?ids={','.join(map(str, ids))}&{where}"


def figures_document() -> Document:
    """All figures of the article."""
    return {
        "figures": [
            {
                "id": figure.id,
                "title": asdict(figure.title),
                "part": figure.part,
                "picture": figure.picture,
                "status": figure.status,
                "tensors": figure.tensors,
            }
            for figure in all_figures().values()
        ]
    }


def parameters_document(config: GPT2Config) -> Document:
    """Where the parameters are, tensor by tensor; beside the article's numbers where they are of the same shape."""
    table = parameter_table(config)
    parts = ((table.embeddings, "", 1), (table.block, "h.*.", config.n_layer), (table.final, "", 1))
    listed: list[Document] = [
        {
            "tensor": prefix + row.tensor,
            "shape": row.shape,
            "parameters": row.parameters,
            "copies": copies,
            "article": row.article if table.matches_article else None,
        }
        for rows, prefix, copies in parts
        for row in rows
    ]
    return {
        "tensors": listed,
        "parameters": table.parameters,
        "article": table.article_parameters if table.matches_article else None,
        "notes": [asdict(panel.words) for panel in parameter_panels(table) if isinstance(panel, Note)],
    }


def token_text(tokenizer: Codec | None, token: int) -> str:
    """A token as it can be read; its number where it has no text."""
    return tokenizer.label(token) if tokenizer else f"#{token}"


def token_bytes(tokenizer: Codec | None, token: int) -> bytes | None:
    """A token's bytes; None without a tokenizer, and for the ids with which a vocabulary is padded."""
    try:
        return tokenizer.token_bytes(token) if tokenizer else None
    except UsageError:
        return None


def token_document(tokenizer: Codec | None, token: int) -> Document:
    """A token with its text to be read and its bytes."""
    return {
        "id": token,
        "text": token_text(tokenizer, token),
        "bytes": list(token_bytes(tokenizer, token) or b""),
    }


def vocabulary_document(model: Model) -> Document:
    """The text of every token."""
    return {"tokens": [token_text(model.tokenizer, token) for token in range(model.config.n_vocab)]}


def explain_document(model: Model, text: str) -> Document:
    """How a text becomes tokens."""
    if not isinstance(model.tokenizer, Tokenizer):
        raise UsageError(f"{model.name} has no tokenizer files, so it cannot read text")
    pieces = model.tokenizer.explain(text)
    return {"ids": [token for piece in pieces for token in piece.ids], "pieces": [asdict(piece) for piece in pieces]}


def nearest_document(model: Model, token: int, k: int) -> Document:
    """The tokens whose embeddings point the same way as that of a token, by the cosine between them."""
    found = zip(*nearest(model.weights["wte.weight"], token, k), strict=True)
    return {
        "tokens": [
            {"id": int(other), "text": token_text(model.tokenizer, int(other)), "cosine": float(cosine)}
            for other, cosine in found
        ]
    }


def trace_document(name: str, trace: Trace, stored: bool) -> Document:
    """What a trace is of, and what had to be computed for it; `stored` says that nothing was computed now."""
    return {
        "trace": name,
        "ids": trace.ids,
        "tokens": [token_document(trace.tokenizer, token) for token in trace.ids],
        "interventions": [
            {field: value for field, value in asdict(intervention).items() if value is not None}
            for intervention in trace.interventions
        ],
        "work": asdict(trace.work),
        "stored": stored,
    }


def candidates(
    tokenizer: Codec | None, ids: Iterable[int] | NDArray[np.intp], probabilities: Iterable[float] | FloatArray
) -> list[Document]:
    """Tokens that may come next, in the order that they are given in."""
    return [
        {"id": int(token), "text": token_text(tokenizer, int(token)), "probability": float(probability)}
        for token, probability in zip(ids, probabilities, strict=True)
    ]
