"""Tasks: what a model reads, what it learns to write, and how that is decoded and measured, as small TOML files."""

from cutaway.tasks.encoder import TaskEncoder
from cutaway.tasks.sources import builtin_tasks, open_task
from cutaway.tasks.task import Task

__all__ = ["Task", "TaskEncoder", "builtin_tasks", "open_task"]
