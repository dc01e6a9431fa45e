"""Penn Treebank: perplexity per word of newspaper text, in the format of Mikolov et al. (2010).

File: `ptb.test.txt`: sentences in lower case, without punctuation, numbers as `N`, rare words as `<unk>`. Words: all
tokens and one `<eos>` per line, 82,430 in the test file.

Recipe: the de-tokenizer below; `N` and `<unk>` stay, since the words that they replaced are lost. Sentences are in the
order of the articles, so the file is one document. The metric is the exponential of the mean nats per word. The paper
has 65.85 for 124M; transformers#13786 got 79.65 per word without a de-tokenizer.
"""

from functools import partial

from cutaway.evaluation.detokenize import Conventions
from cutaway.evaluation.paper_tasks.running_text import detokenize_lines, document_perplexity, split_lines
from cutaway.evaluation.paper_tasks.task import PaperTask

CONVENTIONS = Conventions(closing="%'", opening="$#", clitics="n't|'(?:s|m|d|re|ve|ll)")


def clean(text: str, place: str) -> str:
    """De-tokenize the lines of a file, without the space at both ends of each line.

    >>> clean(" mr. ford 's plan did n't add $ N million or N % \\n", "ptb.test.txt")
    "mr. ford's plan didn't add $N million or N%\\n"
    """
    return "".join(detokenize_lines([line.strip(" ") for line in split_lines(text, place)], CONVENTIONS))


run = partial(document_perplexity, clean=clean)

TASK = PaperTask("ptb", "Penn Treebank", ("ptb.test.txt", "simple-examples/data/ptb.test.txt"), run, "words", (82_430,))
