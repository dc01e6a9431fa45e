"""WikiText-2 and WikiText-103: perplexity per word of Wikipedia's good articles (Merity et al. 2016).

File: `wiki.test.tokens`, or `wiki.test.raw` without `<unk>`: lines of tokens between spaces, `@-@`, `@,@` and `@.@`
inside words, ` = Title = ` for headings. Words: all tokens and one `<eos>` per line, 245,569 in each test file and
217,646 in each validation file. Both have the same test articles but different vocabularies, and so different `<unk>`.

Recipe: the de-tokenizer below; `<unk>` stays; one document; the exponential of the mean nats per word. The paper has
29.41 and 37.50 for 124M. On the same articles transformers#13761 got 29.94 per token of GPT-2 and 37.37 per word, so
the paper's first number seems to be per token. Both are metrics here.
"""

from functools import partial

from cutaway.evaluation.detokenize import Conventions
from cutaway.evaluation.paper_tasks.running_text import detokenize_lines, document_perplexity, split_lines
from cutaway.evaluation.paper_tasks.task import PaperTask

CONVENTIONS = Conventions(
    closing=",.;:!?)]}%'°",
    opening="([{$£#",
    quote='"',
    repeated="=",
    clitics="'(?:s|t|m|d|re|ve|ll)",
    infixes={"@-@": "-", "@,@": ",", "@.@": "."},
)


def clean(text: str, place: str) -> str:
    """De-tokenize the lines of a file, without the space at both ends of each line.

    >>> clean(' It is 1 @,@ 000 m " high " , says J. Ford . \\n', "wiki.test.raw")
    'It is 1,000 m "high", says J. Ford.\\n'
    """
    return "".join(detokenize_lines([line.strip(" ") for line in split_lines(text, place)], CONVENTIONS))


run = partial(document_perplexity, clean=clean)


def _task(number: int) -> PaperTask:
    name = f"wikitext-{number}"
    files = (f"{name}/wiki.test.tokens", f"{name}-raw/wiki.test.raw")
    return PaperTask(name, f"WikiText-{number}", files, run, "words", (245_569,))


WIKITEXT_2 = _task(2)
WIKITEXT_103 = _task(103)
