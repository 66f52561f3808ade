"""Where the text and its prompts come from."""

from __future__ import annotations

from dataclasses import dataclass

from sunfish.config.rules import check_types
from sunfish.utils import UsageError

STORIES = "stories"  # the built-in corpus
HUB = "hf:"  # begins the address of a data set on the hub


@dataclass(frozen=True)
class DataConfig:
    """Where the text and its prompts come from, and how they are prepared."""

    data: str = STORIES
    """stories (built in), a path (.txt, .jsonl, .csv, .tsv, .parquet, a folder), or hf:OWNER/NAME[:CONFIG][:SPLIT]."""
    stories: int = 60_000
    """Number of built-in stories to generate for training."""
    data_folder: str = "data"
    """Folder of the prepared (tokenized, memory-mapped) corpora."""
    tokenizer: str = "bpe"
    """bpe (trained on the corpus), bytes, characters, or a path to a tokenizer.json or a GPT-2 vocabulary."""
    text_field: str = "text"
    """Field of the text in .jsonl, .csv, .tsv and .parquet records; meta.title is the title inside meta."""
    prompt_field: str = ""
    """Field of the prompt; empty: prompts are derived from the text."""
    prompt_template: str = ""
    """A prompt with fields of the record in braces, for example 'Write a {label} review'."""
    delimiter: str = ""
    """What separates the documents of a .txt file; empty: a blank line; 'none': the file is one long text."""
    validation_fraction: float = 0.05
    """Share of the documents held out for validation, chosen by a hash of the document."""

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.validation_fraction < 1:
            raise UsageError(
                f"validation_fraction is {self.validation_fraction}; give a share between 0 and 1, such as "
                "0.05"
            )
        if self.stories < 100:
            raise UsageError(f"stories is {self.stories}, but training needs at least 100 of them")
        if self.prompt_field and self.prompt_template:
            raise UsageError(
                f"prompt_field is {self.prompt_field!r} and prompt_template is {self.prompt_template!r}: "
                "give one of the two"
            )
