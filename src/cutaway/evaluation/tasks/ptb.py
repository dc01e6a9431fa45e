"""Penn Treebank: perplexity per word of newspaper text, in the form of Mikolov et al. (2010).

File: `ptb.test.txt`: sentences in lower case, without punctuation, numbers as `N`, rare words as `<unk>`. Words: all
tokens and one `<eos>` per line, 82,430 in the test file.

Recipe: the de-tokenizer below; `N` and `<unk>` stay, since what they replaced is lost; sentences stand in the order of
the articles, so the file is one document; nats per word exponentiated. The paper has 65.85 for 124M; transformers#13786
got 79.65 per word without a de-tokenizer.
"""

from cutaway.evaluation.corpus import decode_text
from cutaway.evaluation.detokenize import Conventions, Detokenizer
from cutaway.evaluation.protocol import LanguageModel, Progress
from cutaway.evaluation.tasks.running_text import count_words, split_lines, word_perplexity
from cutaway.evaluation.tasks.task import Result, Task

CONVENTIONS = Conventions(closing="%'", opening="$#", clitics="n't|'(?:s|m|d|re|ve|ll)")


def clean(text: str) -> str:
    """De-tokenize the lines of a file; the space at both ends of each is dropped.

    >>> clean(" mr. ford 's plan did n't add $ N million or N % \\n")
    "mr. ford's plan didn't add $N million or N%\\n"
    """
    lines = [line.strip(" ") for line in split_lines(text)]
    detokenizer = Detokenizer(CONVENTIONS, (token for line in lines for token in line.split(" ")))
    return "".join(f"{detokenizer.detokenize(line)}\n" for line in lines)


def run(model: LanguageModel, data: bytes, stride: int | None, progress: Progress) -> Result:
    """Score a file of the Penn Treebank.

    >>> import cutaway
    >>> from cutaway.evaluation.protocol import no_progress
    >>> run(cutaway.load(), b"no it was n't \\n", None, no_progress).counts["words"]
    5
    """
    text = decode_text(data, "Penn Treebank")
    words = sum(map(count_words, split_lines(text)))
    return word_perplexity(model, [clean(text)], [words], stride, progress)


TASK = Task("ptb", "Penn Treebank", ("ptb.test.txt", "simple-examples/data/ptb.test.txt"), run)
