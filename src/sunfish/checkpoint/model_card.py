"""The model card that lies in every checkpoint as README.md, and the facts that every card of a model has."""

from __future__ import annotations

from typing import Any

from sunfish.config import Config
from sunfish.config.data import STORIES


def model_card(config: Config, step: int, seconds: float, manifest: dict[str, Any]) -> str:
    """Markdown: what the model is, what it was trained on, how to use it."""
    corpus = manifest["splits"]["train"]
    size = f"{corpus['documents']:,} texts, {corpus['tokens']:,} tokens"
    return f"""---
library_name: sunfish
tags: [diffusion-language-model, text-generation]
---
# {config.training.name}

A SunFish diffusion language model: {config.process.process} process.

- {describe_shape(config)}, context {config.model.context_length}
- trained for {step:,} steps ({seconds / 60:.0f} minutes) on {describe_source(config)}: {size}
- diffusion blocks of {describe_blocks(config)}

```
./run.sh sample.py PATH_OF_THIS_FOLDER --prompt "Write a story about a robot" --guidance_scale 2
```

It writes what its corpus taught it, true or not.
"""


def describe_shape(config: Config) -> str:
    """The size of the network."""
    model = config.model
    return f"{model.n_layer} layers, width {model.n_embd}, {model.n_head} heads, {model.vocab_size:,} ids"


def describe_source(config: Config) -> str:
    """The corpus."""
    return "the built-in stories" if config.corpus.data == STORIES else f"`{config.corpus.data}`"


def describe_blocks(config: Config) -> str:
    """The lengths of the diffusion blocks in training."""
    lengths = config.training.block_lengths
    return ", ".join(str(length) if length else "the whole text" for length in lengths)
