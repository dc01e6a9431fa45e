"""One Billion Word Benchmark: perplexity per word of shuffled sentences of news (Chelba et al. 2013).

File: `news.en.heldout-00000-of-00050`, the usual test shard: one tokenized sentence per line. Words: all tokens and
one `</S>` per line, 159,658 in all.

Recipe: the de-tokenizer below. Sentences are shuffled, which "removes all long-range structure" (section 3.1 of the
paper), so each is a separate document after the start token. The newline at its end stands for `</S>`. The metric is
the exponential of the mean nats per word. The paper has 75.20 for 124M.
"""

from cutaway.data.sources import decode_text
from cutaway.evaluation.detokenize import Conventions
from cutaway.evaluation.paper_tasks.running_text import count_words, detokenize_lines, split_lines, word_perplexity
from cutaway.evaluation.paper_tasks.task import PaperTask, Result
from cutaway.evaluation.protocol import LanguageModel, Progress

SHARD = "news.en.heldout-00000-of-00050"
CONVENTIONS = Conventions(closing=",.;:!?)]}%'", opening="([{$£#", quote='"', clitics="'(?:s|t|m|d|re|ve|ll)")


def clean(text: str, place: str) -> list[str]:
    """De-tokenize a file into one document per sentence.

    >>> clean('" They aren \\'t here , " he said ( on Friday ) .\\nGo !\\n', "1bw")
    ['"They aren\\'t here," he said (on Friday).\\n', 'Go!\\n']
    """
    return detokenize_lines(split_lines(text, place), CONVENTIONS)


def run(model: LanguageModel, data: bytes, place: str, stride: int | None, progress: Progress) -> Result:
    """Score a shard.

    >>> import cutaway
    >>> from cutaway.evaluation.protocol import no_progress
    >>> run(cutaway.load(), b"They stopped .\\nGo !\\n", "one_billion_words", None, no_progress).counts["words"]
    7
    """
    text = decode_text(data, place)
    words = [count_words(line) for line in split_lines(text, place)]
    return word_perplexity(model, clean(text, place), words, stride, progress)


TASK = PaperTask(
    "1bw",
    "One Billion Word Benchmark",
    (
        SHARD,
        f"1-billion-word-language-modeling-benchmark-r13output/heldout-monolingual.tokenized.shuffled/{SHARD}",
    ),
    run,
    "words",
    (159_658,),
)
