"""A task: the recipe that computes the numbers reported in papers from a file of test data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cutaway.data.sources import COMPRESSED
from cutaway.errors import UsageError
from cutaway.evaluation.corpus import DataFile, read_data
from cutaway.evaluation.protocol import LanguageModel, Progress, no_progress
from cutaway.untrusted import quote_path


@dataclass(frozen=True)
class Metric:
    """A number with its standard error, which is None if there are fewer than two units."""

    name: str  # "perplexity", "accuracy" (a share of 1), "bits_per_byte", ...
    value: float
    error: float | None


@dataclass(frozen=True)
class Result:
    """Metrics of a model on a task, the main one first, and what they were computed from."""

    metrics: tuple[Metric, ...]
    error_of: str  # the units that the standard errors are over: "examples", "documents" or "windows"
    counts: dict[str, int]  # of examples, tokens, ...
    stride: int | None = None  # of the windows, if running text was read
    difference: str = ""  # from the published file, such as "13 words, not the 82,430 of the published file"


Run = Callable[[LanguageModel, bytes, str, int | None, Progress], Result]


@dataclass(frozen=True)
class PaperTask:
    """A task by name; `run(model, data, place, stride, progress)` scores the bytes of the file at `place`."""

    name: str
    title: str
    files: tuple[str, ...]  # known paths of the file in a data folder, the preferred one first
    run: Run
    unit: str  # what `published` counts: one of `Result.counts`, or "bytes" of the file
    published: tuple[int, ...]  # several if both the full file and its test split are published
    takes_stride: bool = True  # False if no running text is read

    def evaluate(
        self, model: LanguageModel, path: Path, stride: int | None = None, progress: Progress = no_progress
    ) -> tuple[DataFile, Result]:
        """Score a file, plain or as .xz, .gz or .zst; `stride` is that of the windows, None for the task's default.

        Raises UsageError, naming file and line, if the file is malformed, or if a stride is given without running text.
        """
        if stride is not None and not self.takes_stride:
            raise UsageError(f"{self.name} does not read running text: it takes neither --window nor --stride")
        file, data = read_data(path)
        result = self.run(model, data, quote_path(path), stride, progress)
        return file, replace(result, difference=self._compare(len(data), result))

    def _compare(self, n_bytes: int, result: Result) -> str:
        found = n_bytes if self.unit == "bytes" else result.counts[self.unit]
        published = self.published[0]
        return "" if found in self.published else f"{found:,} {self.unit}, not the {published:,} of the published file"

    def find(self, directory: Path) -> Path | None:
        """Return the task's file in a data folder; None if it is missing."""
        names = [f"{name}{suffix}" for name in self.files for suffix in ("", *COMPRESSED)]
        return next((directory / name for name in names if (directory / name).is_file()), None)
