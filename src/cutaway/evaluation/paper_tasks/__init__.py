"""Tasks of the GPT-2 paper, and HellaSwag. Each reads a file in the format that its authors publish."""

from cutaway.evaluation.paper_tasks import cbt, enwik8, hellaswag, lambada, one_billion_words, ptb, text8, wikitext
from cutaway.evaluation.paper_tasks.task import Metric, PaperTask, Result

TASKS: dict[str, PaperTask] = {
    task.name: task
    for task in (
        lambada.TASK,
        cbt.COMMON_NOUNS,
        cbt.NAMED_ENTITIES,
        wikitext.WIKITEXT_2,
        ptb.TASK,
        enwik8.TASK,
        text8.TASK,
        wikitext.WIKITEXT_103,
        one_billion_words.TASK,
        hellaswag.TASK,
    )
}

__all__ = ["TASKS", "Metric", "PaperTask", "Result"]
