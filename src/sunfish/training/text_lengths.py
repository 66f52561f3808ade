"""How long the texts of a run are: measured where its corpus is prepared, else assumed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sunfish.config import Config, ModelConfig
from sunfish.config.data import STORIES
from sunfish.data.dataset import read_lengths
from sunfish.data.padding import round_up, row_multiple
from sunfish.data.prepare.prepare import prepared_folder
from sunfish.data.sources import open_source

# Of the built-in stories, in tokens: mean and longest text, mean and longest prompt. A small vocabulary needs more
# tokens for the same text.
STORY_LENGTHS = ((2000, (131, 224, 15, 44)), (3000, (127, 208, 14, 44)), (10**9, (122, 184, 14, 44)))
SAMPLED_PROMPTS = 2000
PADDING = 0.04  # share of the positions of a batch, whose rows are of similar lengths


class TextLengths(NamedTuple):
    """Positions of texts with their marks, and tokens of prompts."""

    text: int
    longest_text: int
    prompt: int
    longest_prompt: int

    @property
    def padded(self) -> int:
        """Positions of a usual row of a batch."""
        length = np.array(round(self.text / (1 - PADDING)))
        return int(round_up(length, row_multiple(length)))


def text_lengths(config: Config) -> TextLengths:
    """The lengths of a run: of its corpus if that is prepared, of the built-in stories, or all that the model takes."""
    if (lengths := _prepared_lengths(config)) is not None:
        return lengths
    if config.corpus.data == STORIES:
        return story_lengths(config.model)
    text, prompt = config.model.context_length, config.model.prompt_length
    return TextLengths(text, text, prompt, prompt)


def story_lengths(shape: ModelConfig) -> TextLengths:
    """The lengths of the built-in stories for a model."""
    lengths = next(TextLengths(*known) for limit, known in STORY_LENGTHS if shape.vocab_size < limit)
    texts = (min(length, shape.context_length) for length in lengths[:2])
    prompts = (min(length, shape.prompt_length) for length in lengths[2:])
    return TextLengths(*texts, *prompts)


def _prepared_lengths(config: Config) -> TextLengths | None:
    """The lengths of the prepared corpus of a run, None where it is not prepared yet."""
    folder = prepared_folder(open_source(config.corpus, config.training.seed), config)
    if not folder.exists():
        return None
    texts, prompts = read_lengths(folder, "train")
    sampled = prompts[:SAMPLED_PROMPTS]
    return TextLengths(round(texts.mean()), texts.max(), round(float(sampled.mean())), int(sampled.max()))
