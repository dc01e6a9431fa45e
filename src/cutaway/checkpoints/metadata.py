"""Beside the weights: special tokens, generation settings, and tokenizer files that only other programs read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cutaway.checkpoints.directory import TASK
from cutaway.tokenizer.files import TokenizerFiles


@dataclass(frozen=True)
class Metadata:
    """All that a checkpoint says beside its weights and its tokenizer, kept so that it is saved with them again.

    `special_tokens` are the ids in `config.json`, with the tokenizer's class if it names one, `generation_config` is
    `generation_config.json`, `side_files` the texts of `directory.SIDE_FILES` by name, all as written; `chat_template`
    is that of its file, or else of `tokenizer_config.json`. A tokenizer that cannot be read has a reason,
    `tokenizer_error`, and its files. Token ids work without it. A chat template that cannot be read has only a reason.
    """

    special_tokens: Mapping[str, object] = field(default_factory=dict)
    generation_config: Mapping[str, object] = field(default_factory=dict)
    tokenizer_error: str = ""
    tokenizer_files: TokenizerFiles | None = None
    side_files: Mapping[str, str] = field(default_factory=dict)
    chat_template: str = ""
    template_error: str = ""

    @property
    def task(self) -> str | None:
        """The text of `task.toml`, if there is one."""
        return self.side_files.get(TASK)
