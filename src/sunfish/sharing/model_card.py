"""The model card of a repository: the facts of the run, samples with their seeds, limits, and how to use it."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from sunfish.checkpoint.model_card import describe_blocks, describe_shape, describe_source
from sunfish.config import Config
from sunfish.config.data import STORIES
from sunfish.config.rules import shown
from sunfish.sharing.repository import without_folders
from sunfish.sharing.run_record import RunRecord
from sunfish.utils import UsageError, format_duration, visible

LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")  # as the hub writes its identifiers
STORIES_LICENSE = "mit"  # the stories are made by this package
INFILL_WORDS = 3  # of a sample, before the gap of the example


class Sample(NamedTuple):
    """A text that a model wrote on a CPU with its default settings."""

    prompt: str  # empty: none
    seed: int
    text: str


def check_license(license: str | None, config: Config) -> str | None:
    """The license of model and data: the one given, that of the built-in stories, or None where nobody knows.

    Raises:
        UsageError: It is no identifier of a license.
    """
    if license is None:
        return STORIES_LICENSE if config.corpus.data == STORIES else None
    if not LICENSE.fullmatch(license):
        raise UsageError(
            f"the license is {shown(license)}; give its identifier on the hub, such as apache-2.0"
        )
    return license


def model_card(
    record: RunRecord,
    samples: Sequence[Sample],
    repository: str,
    license: str | None,
    resumable: bool = False,
) -> str:
    """Markdown after a block of YAML, as the hub reads it.

    Args:
        record: What is known of the run.
        samples: At least one text of the model.
        repository: ``USER/NAME``.
        license: The identifier of the license; None: unknown.
        resumable: Whether the trainer's state is there.
    """
    sections = [
        _head(record, license),
        _usage(samples[0], repository, resumable),
        _training(record, license),
        _figures(record),
        _samples(samples, repository),
        _limits(record.config),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _head(record: RunRecord, license: str | None) -> str:
    model = record.config.model
    known = "" if license is None else f"license: {license}\n"
    prompts = f"prompts of up to {model.prompt_length} tokens" if model.prompt_length else "no prompts"
    return f"""---
library_name: sunfish
pipeline_tag: text-generation
{known}tags: [diffusion-language-model, text-diffusion, infilling, safetensors]
---
# {_code(record.config.training.name)}

A SunFish diffusion language model: one network that drafts several tokens in one pass, fills gaps between given
words, and has an exact likelihood.

| | |
|---|---|
| parameters | {record.parameters:,} |
| network | {describe_shape(record.config)} |
| texts | up to {model.context_length} tokens; {prompts} |
| process | {record.config.process.process}, blocks of {describe_blocks(record.config)} |
| SHA-256 of the weights | `{record.weights_sha256}` |"""


def _usage(sample: Sample, repository: str, resumable: bool) -> str:
    folder = _folder(repository)
    gap = " ".join([*sample.text.split()[:INFILL_WORDS], "[MASK]"])
    call = f'"{sample.prompt}"' if re.fullmatch(r"[\w ,.!?'-]+", sample.prompt) else repr(sample.prompt)
    if not sample.prompt:
        call = "guidance_scale=0"  # as the command line has it where there is no prompt to guide by
    resume = f"\n\nTo continue its training: `sunfish train --resume {folder}`." if resumable else ""
    return f"""## Use

```bash
sunfish pull {repository} {folder}
{_command(sample, folder)}
sunfish infill {folder} --text {shlex.quote(gap)}
```

```python
from sunfish import Pipeline

pipeline = Pipeline.from_pretrained("{repository}")
print(pipeline({call}, seed={sample.seed}))
```

The repository holds safetensors and JSON; nothing in it is unpickled, and no code of it runs.{resume}"""


def _training(record: RunRecord, license: str | None) -> str:
    config, trainer = record.config, record.trainer
    data = dataclasses.replace(config.corpus, data=without_folders(config.corpus.data))
    rows = [("data", describe_source(dataclasses.replace(config, corpus=data)))]
    if corpus := trainer.get("corpus"):
        rows.append(("size of the data", f"{corpus['documents']:,} texts, {corpus['tokens']:,} tokens"))
        rows.append(("hash of the data", f"`{corpus['digest']}`"))
    rows.append(("license of the data", license or "not known; ask who made this model before you use it"))
    rows.append(("steps", f"{record.step:,} of {config.training.batch_size} texts"))
    if "tokens" in trainer:
        rows.append(("tokens seen", f"{trainer['tokens']:,}"))
    if "seconds" in trainer:
        rows.append(("time", format_duration(trainer["seconds"])))
    if machine := _machine(trainer.get("environment", {})):
        rows.append(("machine", machine))
    rows.append(("seed", str(config.training.seed)))
    return "## Training\n\n| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _machine(environment: dict[str, Any]) -> str:
    threads = environment.get("threads")
    words = {
        "device": "{}",
        "instructions": "{}",
        "threads": "{} thread" if threads == 1 else "{} threads",
        "precision": "{}",
        "torch": "PyTorch {}",
    }
    return ", ".join(text.format(environment[name]) for name, text in words.items() if name in environment)


def _figures(record: RunRecord) -> str:
    """The last validation; empty where none is known."""
    figures = record.figures
    bound = "bound on the negative log-likelihood" if figures.get("proven", 1) else "canvas cross-entropy"
    names = {
        "next_token": ("next token, exact", "nats/token"),
        "bound": (f"{bound}, the whole text as one block", "nats/token"),
        "bits_per_byte": ("the same", "bits/byte"),
        "block_bound": (f"{bound}, blocks of {figures.get('block_length', 0):g}", "nats/token"),
    }
    if record.config.model.prompt_length:
        names["prompt_gain"] = ("what the right prompt is worth", "nats/token")
    rows = [
        f"| {what} | {figures[name]:.3f} {unit} |" for name, (what, unit) in names.items() if name in figures
    ]
    if not rows:
        return ""
    texts = f"{figures['texts']:,.0f} held-out texts" if "texts" in figures else "held-out texts"
    head = f"## Figures\n\nOn {texts}, after step {record.figures_step:,}:\n\n| figure | value |\n|---|---|\n"
    return head + "\n".join(rows)


def _samples(samples: Sequence[Sample], repository: str) -> str:
    parts = [
        "## Samples\n\nNot chosen: the texts of the first seeds. The command above each text writes it again, on a CPU."
    ]
    for sample in samples:
        text = visible(sample.text) or "(an empty text)"
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
        parts.append(f"```bash\n{_command(sample, _folder(repository))}\n```\n\n{fence}text\n{text}\n{fence}")
    return "\n\n".join(parts)


def _limits(config: Config) -> str:
    model = config.model
    known = "children's stories in English" if config.corpus.data == STORIES else "texts like its corpus"
    lines = [
        f"It writes {known} and nothing else. What it writes is true or false as its corpus makes it likely.",
        f"A text has up to {model.context_length} tokens; in a longer one the model forgets the beginning.",
        "It follows prompts like those of its corpus; it does not chat, and it obeys no instructions."
        if model.prompt_length
        else "It takes no prompts.",
        "What is wrong or harmful in the corpus comes back in the texts. Nothing filters them.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _command(sample: Sample, folder: str) -> str:
    prompt = f" --prompt {shlex.quote(sample.prompt)}" if sample.prompt else ""
    return f"sunfish sample {folder}{prompt} --seed {sample.seed} --device cpu"


def _folder(repository: str) -> str:
    return f"checkpoints/{repository.rpartition('/')[2]}"


def _code(name: str) -> str:
    """A name on one line without what Markdown and YAML would read."""
    return " ".join(visible(name).split()).replace("`", "'").replace("|", "/")
