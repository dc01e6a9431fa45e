"""Tasks as small TOML files: what a model reads, what it learns to write, and how outputs are decoded and scored."""

from cutaway.tasks.encoder import TaskEncoder
from cutaway.tasks.sources import builtin_tasks, open_task
from cutaway.tasks.task import Task

__all__ = ["Task", "TaskEncoder", "builtin_tasks", "open_task"]
