"""Table 3 of "Language Models are Unsupervised Multitask Learners" (Radford et al. 2019), zero-shot scores of GPT-2."""

from dataclasses import dataclass

from cutaway.config import PUBLISHED


@dataclass(frozen=True)
class Column:
    """A column of the table: the task and metric to compare it with, and the scores of the four models."""

    title: str
    task: str
    metric: str
    scores: tuple[float, float, float, float]  # of 124M, 355M, 774M, 1558M; accuracies in percent

    @property
    def by_size(self) -> dict[str, float]:
        """Scores by model size.

        >>> COLUMNS[0].by_size
        {'124M': 35.13, '355M': 15.6, '774M': 10.87, '1558M': 8.63}
        """
        return {model.size: score for model, score in zip(PUBLISHED, self.scores, strict=True)}


COLUMNS = (
    Column("LAMBADA ppl", "lambada", "perplexity", (35.13, 15.60, 10.87, 8.63)),
    Column("LAMBADA acc", "lambada", "accuracy_without_stop_words", (45.99, 55.48, 60.12, 63.24)),
    Column("CBT-CN acc", "cbt-cn", "accuracy", (87.65, 92.35, 93.45, 93.30)),
    Column("CBT-NE acc", "cbt-ne", "accuracy", (83.4, 87.1, 88.0, 89.05)),
    Column("WikiText-2 ppl", "wikitext-2", "perplexity", (29.41, 22.76, 19.93, 18.34)),
    Column("PTB ppl", "ptb", "perplexity", (65.85, 47.33, 40.31, 35.76)),
    Column("enwik8 bpb", "enwik8", "bits_per_byte", (1.16, 1.01, 0.97, 0.93)),
    Column("text8 bpc", "text8", "bits_per_byte", (1.17, 1.06, 1.02, 0.98)),
    Column("WikiText-103 ppl", "wikitext-103", "perplexity", (37.50, 26.37, 22.05, 17.48)),
    Column("1BW ppl", "1bw", "perplexity", (75.20, 55.72, 44.575, 42.16)),
)
