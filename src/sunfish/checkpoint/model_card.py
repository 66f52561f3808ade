"""The model card that lies in every checkpoint as README.md."""

from __future__ import annotations

from typing import Any

from sunfish.config import Config


def model_card(config: Config, step: int, seconds: float, manifest: dict[str, Any]) -> str:
    """Markdown: what the model is, what it was trained on, how to use it."""
    model, corpus = config.model, manifest["splits"]["train"]
    blocks = ", ".join(
        str(length) if length else "the whole text" for length in config.training.block_lengths
    )
    shape = f"{model.n_layer} layers, width {model.n_embd}, {model.n_head} heads, {model.vocab_size:,} ids"
    size = f"{corpus['documents']:,} texts, {corpus['tokens']:,} tokens"
    source = "the built-in stories" if config.corpus.data == "stories" else f"`{config.corpus.data}`"
    return f"""---
library_name: sunfish
tags: [diffusion-language-model, text-generation]
---
# {config.training.name}

A SunFish diffusion language model: {config.process.process} process.

- {shape}, context {model.context_length}
- trained for {step:,} steps ({seconds / 60:.0f} minutes) on {source}: {size}
- diffusion blocks of {blocks}

```
./run.sh sample.py PATH_OF_THIS_FOLDER --prompt "Write a story about a robot" --guidance_scale 2
```

It writes what its corpus taught it, true or not.
"""
