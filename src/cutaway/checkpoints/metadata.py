"""Metadata beside the weights: special tokens, generation settings, and tokenizer files that we cannot read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cutaway.checkpoints.directory import TASK
from cutaway.tokenizer.files import TokenizerFiles


class ChatTemplate(NamedTuple):
    """The text of a chat template, "" if there is none that can be read, and the error of one that cannot."""

    text: str = ""
    error: str = ""


@dataclass(frozen=True)
class Metadata:
    """Everything in a checkpoint besides its weights and its tokenizer, kept so that it can be saved again.

    `special_tokens` holds the ids in `config.json`, and the tokenizer's class if the config names it.
    `generation_config` is `generation_config.json`. `side_files` holds the texts of `directory.SIDE_FILES` by name. All
    three are as written. `chat_template` comes from its own file, or else from `tokenizer_config.json`. For a tokenizer
    that cannot be read, there are a reason, `tokenizer_error`, and its files; token ids still work.
    """

    special_tokens: Mapping[str, object] = field(default_factory=dict)
    generation_config: Mapping[str, object] = field(default_factory=dict)
    tokenizer_error: str = ""
    tokenizer_files: TokenizerFiles | None = None
    side_files: Mapping[str, str] = field(default_factory=dict)
    chat_template: ChatTemplate = field(default_factory=ChatTemplate)

    @property
    def task(self) -> str | None:
        """The text of `task.toml`, if there is one."""
        return self.side_files.get(TASK)
